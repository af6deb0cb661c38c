/**
 * Tells screen readers what changed in one calm sentence, instead of reading every token aloud.
 */
import type { Chat, TurnState } from "./chat";
import type { Link } from "./connection";
import { type Text, useText } from "./text";

export function Announcer({ chat, link }: { chat: Chat; link: Link }) {
  const text = useText();
  return (
    <>
      <p className="visually-hidden" role="status" data-says="link">
        {link.name === "waiting" && text.connectionLost}
        {link.name === "open" && text.connected}
      </p>
      <p className="visually-hidden" role="status" data-says="answer">
        {describe(chat, text)}
      </p>
    </>
  );
}

/** Speaks of the last turn that was sent. */
function describe(chat: Chat, text: Text): string | null {
  const last = chat.items.findLast((item) => item.kind === "turn" && item.state.name !== "waiting");
  if (last?.kind !== "turn") return null;
  const sentences: Record<Exclude<TurnState["name"], "waiting">, string> = {
    answering: text.thinking,
    done: text.answerDone,
    stopped: text.stopped,
    failed: last.answer === "" ? text.unanswered : text.incomplete,
  };
  return last.state.name === "waiting" ? null : sentences[last.state.name];
}
