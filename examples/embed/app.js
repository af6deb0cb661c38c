/** What the shop's page does for the chat: it hands over the person's token, and notes what it is told. */
const chat = document.querySelector("corral-chat");
/** The next token is fetched this long before the last one ends. */
const EARLY_MS = 10_000;

let current = { expiresMs: 0 };

chat.token = async () => {
  if (Date.now() > current.expiresMs - EARLY_MS) {
    const reply = await fetch("/chat-token");
    if (!reply.ok) throw new Error("sign in to the shop again");
    current = await reply.json();
  }
  return current.token;
};

let answers = 0;
chat.addEventListener("corral-answer", () => {
  answers += 1;
  document.querySelector("#told").textContent = `The assistant has answered ${answers === 1 ? "once" : `${answers} times`}.`;
});
