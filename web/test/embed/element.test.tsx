/** Promises of `<corral-chat>` to the app that has it on its page, with the gateway's socket and HTTP API scripted. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Message } from "../../src/client";
import { type CorralChat, defineCorralChat } from "../../src/embed/element";
import { FakeServer } from "../client/fakeServer";

const SERVER = "https://gateway.example/chat/";
const API = `${SERVER}api/v1/`;

const messages: Message[] = [
  { id: "m1", parent: null, role: "user", created_ms: 0, content: [{ type: "text", text: "Hello" }] },
  {
    id: "a1",
    parent: "m1",
    role: "assistant",
    created_ms: 0,
    answer: { status: "running", position: 0, text: "", options: {} },
  },
];

type Call = { url: string; authorization: string | undefined };
let calls: Call[];

beforeEach(() => {
  defineCorralChat();
  localStorage.clear();
  FakeServer.all = [];
  calls = [];
  vi.stubGlobal("WebSocket", FakeServer);
  vi.stubGlobal("fetch", async (url: URL, init: RequestInit) => {
    const headers = init.headers as Record<string, string>;
    calls.push({ url: url.href, authorization: headers.authorization });
    return Response.json(answerTo(url));
  });
});

afterEach(async () => {
  document.body.replaceChildren();
  await settled();
});

function answerTo({ pathname }: URL): unknown {
  if (pathname.endsWith("/ws/ticket")) return { ticket: "one-time", expires_in_seconds: 60 };
  if (pathname.endsWith("/messages")) return { messages };
  if (pathname.endsWith("/conversations")) return { conversations: [] };
  const id = pathname.split("/").at(-1);
  return { id, title: `title of ${id}`, revision: 1, created_ms: 0, updated_ms: 0, pinned: false };
}

/** After all that the element and React do at once. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setTimeout(resolve, 0));
}

function element(attributes: Record<string, string> = {}): CorralChat {
  const chat = document.createElement("corral-chat") as CorralChat;
  for (const [name, value] of Object.entries({ server: SERVER, ...attributes }))
    chat.setAttribute(name, value);
  return chat;
}

async function shown(chat: CorralChat): Promise<CorralChat> {
  const before = lists();
  const sockets = FakeServer.all.length;
  document.body.append(chat);
  if (!chat.token) {
    // Without a token it asks over HTTP only once the socket has been answered.
    await vi.waitFor(() => expect(FakeServer.all.length).toBeGreaterThan(sockets));
    FakeServer.last.welcomes();
  }
  await vi.waitFor(() => expect(lists()).toBeGreaterThan(before));
  return chat;
}

const frame = (chat: CorralChat) => chat.shadowRoot?.querySelector<HTMLElement>(".corral") ?? null;
/** A chat asks for its list once it has begun. */
const lists = () => calls.filter(({ url }) => url.includes("/conversations?")).length;
const tickets = () => calls.filter(({ url }) => url === `${API}ws/ticket`);

test("a chat connects to the gateway that it names", async () => {
  await shown(element());
  expect(FakeServer.all.map(({ url }) => url)).toEqual(["wss://gateway.example/chat/api/v1/ws/chat"]);
});

test("the app's token gets a ticket for each connection, and is asked for anew each time", async () => {
  const chat = element();
  let asked = 0;
  chat.token = async () => `token ${++asked}`;
  await shown(chat);
  await vi.waitFor(() => expect(FakeServer.all).toHaveLength(1));
  FakeServer.last.welcomes();
  expect(FakeServer.last.sent[0]).toMatchObject({ type: "hello", ticket: "one-time" });
  FakeServer.last.breaks(4502);
  await vi.waitFor(() => expect(FakeServer.all).toHaveLength(2));
  const [first, second] = tickets().map(({ authorization }) => authorization);
  expect(first).toMatch(/^Bearer token \d$/);
  expect(second).toMatch(/^Bearer token \d$/);
  expect(second).not.toBe(first);
});

test("a token that was set before the element was known counts", async () => {
  const chat = element();
  Object.defineProperty(chat, "token", { value: () => "early", configurable: true, writable: true });
  await shown(chat);
  await vi.waitFor(() =>
    expect(tickets().map(({ authorization }) => authorization)).toEqual(["Bearer early"]),
  );
  expect(Object.hasOwn(chat, "token")).toBe(false);
});

test("another function for the token begins nothing anew", async () => {
  const chat = element();
  chat.token = () => "one";
  await shown(chat);
  await vi.waitFor(() => expect(FakeServer.all).toHaveLength(1));
  chat.token = () => "two";
  await settled();
  expect([FakeServer.all.length, FakeServer.last.closedByClient]).toEqual([1, false]);
});

test("an element that is moved keeps its chat, and one that has left ends it", async () => {
  const chat = await shown(element());
  const before = frame(chat);
  const place = document.createElement("div");
  document.body.append(place);
  place.append(chat);
  await settled();
  expect(frame(chat)).toBe(before);
  expect(FakeServer.all).toHaveLength(1);
  chat.remove();
  await settled();
  expect(FakeServer.last.closedByClient).toBe(true);
  expect(frame(chat)).toBeNull();
  await shown(chat);
  await vi.waitFor(() => expect(FakeServer.all).toHaveLength(2));
});

test("another user's chat is another chat", async () => {
  const chat = await shown(element({ user: "alice" }));
  chat.setAttribute("user", "bob");
  await settled();
  expect(FakeServer.all.map(({ closedByClient }) => closedByClient)).toEqual([true, false]);
});

test("two chats of one page know nothing of each other", async () => {
  const one = await shown(element({ theme: "dark" }));
  const two = await shown(element({ theme: "light", language: "zh-CN", server: "https://other.example" }));
  expect([one, two].map((chat) => [frame(chat)?.dataset.theme, frame(chat)?.lang])).toEqual([
    ["dark", "en"],
    ["light", "zh-CN"],
  ]);
  expect(FakeServer.all.map(({ url }) => new URL(url).host)).toEqual(["gateway.example", "other.example"]);
});

test("a changed theme or language shows at once", async () => {
  const chat = await shown(element({ theme: "dark" }));
  chat.setAttribute("theme", "light");
  chat.setAttribute("language", "zh-Hans");
  await vi.waitFor(() => expect([frame(chat)?.dataset.theme, frame(chat)?.lang]).toEqual(["light", "zh-CN"]));
});

test("the app is told which conversation is open and which answer has ended, in ids alone", async () => {
  const told: unknown[] = [];
  const note = (event: Event) => told.push([event.type, (event as CustomEvent).detail]);
  document.body.addEventListener("corral-open", note);
  document.body.addEventListener("corral-answer", note);
  const chat = await shown(element());
  FakeServer.last.welcomes();
  chat.open("c1");
  await vi.waitFor(() => expect(FakeServer.last.asked.map(({ type }) => type)).toContain("watch"));
  expect(chat.conversation).toBe("c1");
  FakeServer.last.says(
    { type: "ok", re: FakeServer.last.idOf("watch") },
    { type: "done", answer: "a1", position: 0, status: "done", revision: 1 },
  );
  chat.newChat();
  expect(told).toEqual([
    ["corral-open", { conversation: "c1" }],
    ["corral-answer", { conversation: "c1", answer: "a1" }],
    ["corral-open", {}],
  ]);
});

test("a conversation that is named at the start is open, and the title is the app's until then", async () => {
  const chat = await shown(element({ conversation: "c7", heading: "Help desk" }));
  await vi.waitFor(() => expect(calls.map(({ url }) => url)).toContain(`${API}conversations/c7`));
  chat.newChat();
  await vi.waitFor(() => expect(chat.shadowRoot?.querySelector("h1")?.textContent).toBe("Help desk"));
});

test("the page's address and title stay the app's", async () => {
  document.title = "The app";
  const { href } = location;
  const chat = await shown(element());
  chat.open("c1");
  await settled();
  expect([document.title, location.href]).toEqual(["The app", href]);
});
