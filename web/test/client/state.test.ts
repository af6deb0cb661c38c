/** What frames, HTTP and requests make of conversations and answers. */
import { expect, test } from "vitest";
import type { Answered, Conversation, Message, ServerFrame } from "../../src/client/protocol";
import {
  type Answer,
  branch,
  type Chat,
  type ChatEvent,
  type ChatState,
  emptyState,
  isStale,
  reduce,
  versions,
} from "../../src/client/state";
import { welcome } from "./fakeServer";

const C = "01932c07-0000-7000-8000-00000000000c";
/** Ids in the order in which the server gives them. */
const id = (n: number) => `01932c07-6c8a-7000-8000-${`${n}`.padStart(12, "0")}`;
const [M1, A1, M2, A2] = [id(1), id(2), id(3), id(4)];

function after(events: ChatEvent[], state: ChatState = emptyState): ChatState {
  return events.reduce(reduce, state);
}

function answer(state: ChatState, id: string): Answer {
  const found = state.answers.get(id);
  if (!found) throw new Error(`no answer ${id}`);
  return found;
}

function chat(state: ChatState): Chat {
  const found = state.chats.get(C);
  if (!found) throw new Error("no conversation");
  return found;
}

/** The request `content`, as it was taken. */
function sent(message: string, answer: string, revision: number, more: object = {}): ChatEvent {
  return {
    type: "accepted",
    re: "r",
    conversation: C,
    revision,
    message,
    answer,
    options: {},
    request: { type: "send", id: "r", content: "Hello", ...more },
  };
}

const delta = (answer: string, position: number, text: string): ServerFrame => ({
  type: "delta",
  answer,
  position,
  text,
});

const done = (answer: string, position: number, revision: number, more: object = {}): ServerFrame => ({
  type: "done",
  answer,
  position,
  status: "done",
  finish_reason: "stop",
  revision,
  ...more,
});

const record = (revision: number, leaf?: string): Conversation => ({
  id: C,
  title: "Hello",
  created_ms: 1,
  updated_ms: 2,
  revision,
  temporary: false,
  pinned: false,
  ...(leaf && { leaf }),
});

const question = (id: string, parent: string | null): Message => ({
  id,
  parent,
  role: "user",
  created_ms: 1,
  content: [{ type: "text", text: "Hello" }],
});

function stored(id: string, parent: string, text: string, more: Partial<Answered> = {}): Message {
  const answer = { status: "done" as const, text, position: text.length, options: {}, ...more };
  return { id, parent, role: "assistant", created_ms: 1, answer };
}

const loaded = (revision: number, messages: Message[], newest = true): ChatEvent => ({
  type: "loaded",
  conversation: record(revision, messages.at(-1)?.id),
  messages,
  newest,
});

test("a new conversation is whole from its first frame to its last, without HTTP", () => {
  const state = after([
    sent(M1, A1, 1),
    { type: "queued", answer: A1, place: 1 },
    { type: "context", answer: A1, left_out: 0, used: 20, size: 8192 },
    { type: "progress", answer: A1, phase: "thinking" },
    { type: "delta", answer: A1, position: 4, reasoning: "hmm." },
    { type: "progress", answer: A1, phase: "writing" },
    delta(A1, 16, "Once upon a "),
    delta(A1, 21, "time."),
    { type: "changed", conversation: C, revision: 2, what: "messages" },
    done(A1, 21, 2, { usage: { prompt_tokens: 20, cached_tokens: 0, completion_tokens: 6 } }),
  ]);
  expect(answer(state, A1)).toEqual({
    id: A1,
    conversation: C,
    status: "done",
    finish_reason: "stop",
    text: "Once upon a time.",
    reasoning: "hmm.",
    position: 21,
    options: {},
    context: { left_out: 0, used: 20, size: 8192 },
    usage: { prompt_tokens: 20, cached_tokens: 0, completion_tokens: 6 },
  });
  expect(branch(chat(state)).map((message) => message.id)).toEqual([M1, A1]);
  expect(chat(state).messages.get(M1)).toEqual({ ...question(M1, null), created_ms: 0x01932c076c8a });
  expect([chat(state).revision, isStale(chat(state))]).toEqual([2, false]);
});

test("a message without parent follows the newest answer, and waits behind one that runs", () => {
  const state = after([sent(M1, A1, 1), sent(M2, A2, 2, { conversation: C })]);
  expect(chat(state).messages.get(M2)?.parent).toBe(A1);
  expect([answer(state, A1).status, answer(state, A2).status]).toEqual(["running", "waiting"]);
  const begun = after([done(A1, 0, 3), { type: "queued", answer: A2, place: 1 }], state);
  expect(answer(begun, A2)).toMatchObject({ status: "running", stage: { place: 1 } });
});

test("an edited message is a version beside the old one", () => {
  const state = after([sent(M1, A1, 1), done(A1, 0, 2), sent(M2, A2, 3, { conversation: C, parent: null })]);
  expect(versions(chat(state), null).map((message) => message.id)).toEqual([M1, M2]);
  expect(branch(chat(state)).map((message) => message.id)).toEqual([M2, A2]);
  expect(branch(chat(state), A1).map((message) => message.id)).toEqual([M1, A1]);
});

test("another answer stands beside the one it was asked for", () => {
  const accepted = {
    type: "accepted",
    re: "r",
    conversation: C,
    revision: 3,
    message: M1,
    options: {},
  } as const;
  const request = { type: "regenerate", id: "r", message: A1 } as const;
  const state = after([sent(M1, A1, 1), done(A1, 0, 2), { ...accepted, answer: A2, request }]);
  expect(versions(chat(state), M1).map((message) => message.id)).toEqual([A1, A2]);
  expect(branch(chat(state)).map((message) => message.id)).toEqual([M1, A2]);
});

test("an answer that is continued runs again and loses the end it had", () => {
  const cut = after([sent(M1, A1, 1), delta(A1, 4, "Once"), done(A1, 4, 2, { finish_reason: "length" })]);
  const continued = reduce(cut, {
    ...(sent(M1, A1, 3) as Extract<ChatEvent, { type: "accepted" }>),
    request: { type: "continue", id: "r", message: A1 },
  });
  const running = { id: A1, conversation: C, reasoning: "", options: {}, status: "running" };
  expect(answer(continued, A1)).toEqual({ ...running, text: "Once", position: 4 });
  // Another tab sees only the delta.
  expect(answer(reduce(cut, delta(A1, 10, " upon ")), A1)).toEqual({
    ...running,
    text: "Once upon ",
    position: 10,
  });
});

test("text that is there already is not added twice, to the byte", () => {
  const state = after([delta(A1, 6, "芝士")]);
  expect(reduce(state, delta(A1, 3, "芝"))).toBe(state);
  expect(reduce(state, delta(A1, 6, "士"))).toBe(state);
  expect(answer(reduce(state, delta(A1, 10, "芝士🧀")), A1).text).toBe("芝士🧀");
  expect(answer(reduce(state, delta(A1, 9, "士\ufeff")), A1).text).toBe("芝士\ufeff");
});

test("text beyond a gap is not added, and an end beyond one is none", () => {
  const state = after([sent(M1, A1, 1), delta(A1, 4, "Once"), delta(A1, 12, "time.")]);
  expect(answer(state, A1)).toMatchObject({ text: "Once", position: 4 });
  expect(answer(reduce(state, done(A1, 12, 2)), A1).status).toBe("running");
});

test("a snapshot that is the beginning of what is there keeps what is there", () => {
  const snapshot: ServerFrame = {
    type: "snapshot",
    answer: A1,
    position: 4,
    text: "Once",
    status: "interrupted",
  };
  const state = after([delta(A1, 10, "Once upon "), snapshot, done(A1, 4, 2, { status: "interrupted" })]);
  expect(answer(state, A1)).toMatchObject({ status: "interrupted", text: "Once upon ", position: 4 });
  // The server goes on from where it is itself.
  expect(answer(reduce(state, delta(A1, 8, " was")), A1)).toMatchObject({ text: "Once was", position: 8 });
});

test("a snapshot that differs replaces what is there", () => {
  const snapshot: ServerFrame = {
    type: "snapshot",
    answer: A1,
    position: 9,
    text: "Never",
    reasoning: "hmm.",
    status: "running",
  };
  expect(answer(after([delta(A1, 4, "Once"), snapshot]), A1)).toEqual({
    id: A1,
    status: "running",
    text: "Never",
    reasoning: "hmm.",
    position: 9,
    options: {},
  });
});

test("HTTP that shows less of a running answer takes nothing away", () => {
  const state = after([
    sent(M1, A1, 1),
    delta(A1, 10, "Once upon "),
    loaded(1, [question(M1, null), stored(A1, M1, "Once", { status: "running" })]),
  ]);
  expect(answer(state, A1)).toMatchObject({ text: "Once upon ", position: 10, status: "running" });
});

test("HTTP that shows more of an answer is taken, and the frames that follow add nothing", () => {
  const state = after([
    sent(M1, A1, 1),
    delta(A1, 4, "Once"),
    loaded(2, [question(M1, null), stored(A1, M1, "Once upon ", { finish_reason: "stop" })]),
    delta(A1, 7, " up"),
    delta(A1, 10, "on "),
  ]);
  expect(answer(state, A1)).toMatchObject({ text: "Once upon ", position: 10, status: "done" });
});

test("a revision that was not seen coming asks for HTTP, and HTTP settles it", () => {
  const stale = after([sent(M1, A1, 1), { type: "changed", conversation: C, revision: 3, what: "title" }]);
  expect(isStale(chat(stale))).toBe(true);
  expect(isStale(chat(reduce(stale, done(A1, 0, 4))))).toBe(true);
  const fresh = reduce(stale, loaded(3, [question(M1, null), stored(A1, M1, "")]));
  expect([isStale(chat(fresh)), chat(fresh).record?.title]).toEqual([false, "Hello"]);
});

test("HTTP that is older than what is shown is ignored", () => {
  const state = after([sent(M1, A1, 1), done(A1, 0, 2), sent(M2, A2, 3, { conversation: C })]);
  expect(reduce(state, loaded(2, [question(M1, null), stored(A1, M1, "")]))).toBe(state);
});

test("messages that HTTP no longer has go, unless something newer was heard of", () => {
  const both = [question(M1, null), stored(A1, M1, "a"), question(M2, A1), stored(A2, M2, "b")];
  const state = after([loaded(3, both)]);
  const fewer = loaded(4, both.slice(0, 2));
  const heard: ServerFrame = { type: "changed", conversation: C, revision: 5, what: "messages" };
  expect([...chat(reduce(state, fewer)).messages.keys()]).toEqual([M1, A1]);
  expect([...reduce(state, fewer).answers.keys()]).toEqual([A1]);
  expect(chat(after([heard, fewer], state)).messages.size).toBe(4);
});

test("an older page adds what is before, and changes nothing else", () => {
  const newest = after([loaded(3, [question(M2, A1), stored(A2, M2, "b")])]);
  expect(branch(chat(newest)).map((message) => message.id)).toEqual([M2, A2]);
  const all = reduce(newest, loaded(3, [question(M1, null), stored(A1, M1, "a")], false));
  expect(branch(chat(all)).map((message) => message.id)).toEqual([M1, A1, M2, A2]);
  expect(chat(all).record).toBe(chat(newest).record);
});

test("a waiting message that is taken back goes with its answer, and the next one closes up", () => {
  const [M3, A3] = [id(5), id(6)];
  const old = { conversation: C };
  const state = after([sent(M1, A1, 1), sent(M2, A2, 2, old), sent(M3, A3, 3, old)]);
  const dropped = reduce(state, { type: "dropped", message: M2 });
  expect(branch(chat(dropped)).map((message) => message.id)).toEqual([M1, A1, M3, A3]);
  expect([...dropped.answers.keys()]).toEqual([A1, A3]);
  const last = reduce(dropped, { type: "dropped", message: M3 });
  expect(chat(last).leaf).toBe(A1);
});

test("a waiting message has its new words", () => {
  const state = after([sent(M1, A1, 1), { type: "edited", message: M1, content: "Bye" }]);
  expect(chat(state).messages.get(M1)?.content).toEqual([{ type: "text", text: "Bye" }]);
});

test("a deleted conversation is there again once something newer is heard of it", () => {
  const deleted = after([
    { type: "changed", conversation: C, revision: 4, what: "deleted" },
    // The end of the answer that was stopped with it.
    { type: "changed", conversation: C, revision: 4, what: "messages" },
  ]);
  expect(chat(deleted).deleted).toBe(true);
  const restored = after([{ type: "changed", conversation: C, revision: 6, what: "messages" }], deleted);
  expect(chat(restored)).toMatchObject({ deleted: false, latest: 6 });
  const load = (revision: number) => after([loaded(revision, [])], deleted);
  expect([load(3), load(6)].map((state) => chat(state).deleted)).toEqual([true, false]);
});

test("the model is the one that was named last", () => {
  const model = { name: "other", images: true, tools: true, state: "loading" } as const;
  expect(after([welcome, { type: "model", ...model }]).welcome?.model).toMatchObject(model);
});

test("what is forgotten is gone, and nothing else", () => {
  const other = { ...sent(M2, A2, 1), conversation: id(9) } as ChatEvent;
  const state = after([sent(M1, A1, 1), other, { type: "forgotten", conversation: C }]);
  expect([[...state.chats.keys()], [...state.answers.keys()]]).toEqual([[id(9)], [A2]]);
});

test("types of later versions change nothing", () => {
  const state = after([sent(M1, A1, 1)]);
  expect(reduce(state, { type: "weather", answer: A1 } as unknown as ServerFrame)).toBe(state);
});
