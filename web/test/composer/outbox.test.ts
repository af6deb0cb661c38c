/** Messages of a conversation that does not exist yet stay together. */
import { beforeEach, expect, test, vi } from "vitest";
import { createStore } from "zustand/vanilla";
import { Outbox } from "../../src/app/outbox";
import { OwnedStorage } from "../../src/app/owned";
import { loadPreferences } from "../../src/app/preferences";
import { initialState, type PageState } from "../../src/app/state";
import {
  type Accepted,
  type ChatClient,
  ChatError,
  type ContentPart,
  type NewMessage,
} from "../../src/client";

type Sent = NewMessage & { resolve: (accepted: Accepted) => void; reject: (error: ChatError) => void };
let sent: Sent[];

beforeEach(() => {
  localStorage.clear();
  sent = [];
});

function outbox() {
  const client = {
    send: (message: NewMessage) =>
      new Promise<Accepted>((resolve, reject) => sent.push({ ...message, resolve, reject })),
  } as unknown as ChatClient;
  const store = createStore<PageState>(() => initialState(loadPreferences(localStorage)));
  const box = new Outbox(client, store, new OwnedStorage(localStorage), () => {});
  const add = (words: string, temporary = false) =>
    box.add({ content: [{ type: "text", text: words } satisfies ContentPart], options: {}, temporary });
  const errors = () => store.getState().outbox.map(({ error }) => error?.code);
  return { box, add, errors, waiting: () => store.getState().outbox.length };
}

/** The outbox after a reload, once it is known whose it is. */
function resumed() {
  const after = outbox();
  after.box.restore();
  after.box.sendRestored();
  return after;
}

/** What was sent, as `words` or `words to conversation`. */
function asked(): string[] {
  return sent.map(({ content, conversation }) => {
    const [part] = content as ContentPart[];
    const words = part?.type === "text" ? part.text : "";
    return conversation === undefined ? words : `${words} to ${conversation}`;
  });
}

async function takes(at: number, conversation = "c"): Promise<void> {
  sent[at]?.resolve({ conversation } as Accepted);
  await Promise.resolve();
}

test("what follows the first message of a new conversation goes to the same one", async () => {
  const { add, waiting } = outbox();
  add("one");
  add("two");
  add("three");
  expect(asked()).toEqual(["one"]);
  await takes(0);
  expect(asked()).toEqual(["one", "two to c", "three to c"]);
  await takes(1);
  await takes(2);
  expect(waiting()).toBe(0);
});

test("a temporary message follows no ordinary one, and an ordinary one no temporary one", async () => {
  const { add } = outbox();
  add("one");
  add("secret", true);
  add("secret too", true);
  add("two");
  const begun = () => sent.map(({ conversation, temporary = false }) => [conversation, temporary]);
  expect([asked(), begun()]).toEqual([
    ["one", "secret"],
    [
      [undefined, false],
      [undefined, true],
    ],
  ]);
  await takes(0);
  await takes(1, "t");
  expect(asked()).toEqual(["one", "secret", "two to c", "secret too to t"]);
});

test("after a reload they still wait for the first", async () => {
  const before = outbox();
  before.add("one");
  before.add("two");
  sent = [];
  resumed();
  expect(asked()).toEqual(["one"]);
  await takes(0);
  expect(asked()).toEqual(["one", "two to c"]);
});

test("when the first is given up, the next one begins the conversation", async () => {
  const { box, add } = outbox();
  const first = add("one");
  add("two");
  add("three");
  sent[0]?.reject(new ChatError("too_large", "too large"));
  await Promise.resolve();
  expect(asked()).toEqual(["one"]);
  box.discard(first.id);
  expect(asked()).toEqual(["one", "two"]);
  await takes(1);
  expect(asked()).toEqual(["one", "two", "three to c"]);
});

test("a message after one that was refused begins a conversation of its own", async () => {
  const { add } = outbox();
  add("one");
  sent[0]?.reject(new ChatError("too_large", "too large"));
  await vi.waitFor(() => {
    add("two");
    expect(asked()).toEqual(["one", "two"]);
  });
});

test("the messages of two tabs are both kept", () => {
  const one = outbox();
  const two = outbox();
  one.add("one");
  two.add("two");
  sent = [];
  resumed();
  expect(asked()).toEqual(["one", "two"]);
});

test("a message that is over a day old is not sent, and not lost", () => {
  const before = outbox();
  vi.spyOn(Date, "now").mockReturnValue(0);
  before.add("one");
  vi.mocked(Date.now).mockReturnValue(25 * 60 * 60 * 1000);
  sent = [];
  const after = resumed();
  expect([asked(), after.errors()]).toEqual([[], ["expired"]]);
});

test("a refused message stays refused after a reload", async () => {
  const before = outbox();
  before.add("one");
  sent[0]?.reject(new ChatError("quota_exceeded", "enough"));
  await vi.waitFor(() => expect(before.errors()).toEqual(["quota_exceeded"]));
  sent = [];
  const after = resumed();
  expect([asked(), after.errors()]).toEqual([[], ["quota_exceeded"]]);
});

test("messages whose first one is gone begin a conversation after a reload, temporary ones another", async () => {
  const { add } = outbox();
  add("one");
  add("two");
  add("secret", true);
  const kept = JSON.parse(localStorage.getItem("corral.outbox") ?? "[]") as object[];
  localStorage.setItem("corral.outbox", JSON.stringify(kept.map((one) => ({ ...one, after: "gone" }))));
  sent = [];
  resumed();
  expect(asked()).toEqual(["one", "secret"]);
  await takes(0);
  expect(asked()).toEqual(["one", "secret", "two to c"]);
});
