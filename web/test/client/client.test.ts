/** What a person asks for, over sockets that break: each request is answered once, and nothing is asked twice in vain. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatClient, ChatError } from "../../src/client/client";
import type { ServerFrame } from "../../src/client/protocol";
import { FakeServer, type Sent } from "./fakeServer";

const C = "01932c07-0000-7000-8000-00000000000c";
const M1 = "01932c07-6c8a-7000-8000-000000000001";
const A1 = "01932c07-6c8a-7000-8000-000000000002";
let client: ChatClient;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  FakeServer.all = [];
  vi.spyOn(Math, "random").mockReturnValue(1);
  client = new ChatClient({ url: "ws://gateway/api", open: FakeServer.open });
  client.connect();
});

afterEach(() => {
  client.close();
  vi.useRealTimers();
});

const accepted = (re: string, more: object = {}): ServerFrame => ({
  type: "accepted",
  re,
  conversation: C,
  revision: 1,
  message: M1,
  answer: A1,
  options: {},
  ...more,
});

/** The error with which a promise rejects, as it will. */
function refusal(promise: Promise<unknown>): Promise<ChatError> {
  return promise.then(
    () => {
      throw new Error("it was done");
    },
    (error) => error,
  );
}

/** A socket in the place of the one that breaks. */
function reconnect(code = 1006): FakeServer {
  FakeServer.last.breaks(code);
  client.reconnectNow();
  FakeServer.last.welcomes();
  return FakeServer.last;
}

/** Sends a message whose answer then runs with this text. */
async function begin(text: string): Promise<void> {
  FakeServer.last.welcomes();
  const taken = client.send({ content: "Hello" });
  FakeServer.last.says(accepted(FakeServer.last.idOf("send")));
  FakeServer.last.says({ type: "delta", answer: A1, position: text.length, text });
  await taken;
}

const watches = (frames: Sent[]) => frames.filter((frame) => frame.type === "watch");

test("a message is sent once there is a connection, and taken when the server says so", async () => {
  const taken = client.send({ content: "Hello", temporary: true });
  expect(FakeServer.last.sent).toEqual([]);
  FakeServer.last.welcomes();
  expect(FakeServer.last.asked).toEqual([{ type: "send", content: "Hello", temporary: true }]);
  FakeServer.last.says(accepted(FakeServer.last.idOf("send")));
  expect(await taken).toMatchObject({ conversation: C, message: M1, answer: A1 });
  expect(client.getState().answers.get(A1)?.status).toBe("running");
});

test("every wish is its frame, and done when the server says ok", async () => {
  FakeServer.last.welcomes();
  const done = [
    client.stop(A1),
    client.editQueued(M1, "Bye"),
    client.dropQueued(M1),
    client.watch(C),
    client.unwatch(C),
  ];
  const started = [client.regenerate(A1, { seed: 7 }), client.continue(A1)];
  expect(FakeServer.last.asked).toEqual([
    { type: "stop", message: A1 },
    { type: "edit_queued", message: M1, content: "Bye" },
    { type: "drop_queued", message: M1 },
    { type: "watch", conversation: C, answers: [] },
    { type: "unwatch", conversation: C },
    { type: "regenerate", message: A1, options: { seed: 7 } },
    { type: "continue", message: A1 },
  ]);
  for (const { id = "", type } of FakeServer.last.sent.slice(1)) {
    FakeServer.last.says(
      type === "regenerate" || type === "continue" ? accepted(id) : { type: "ok", re: id },
    );
  }
  expect(await Promise.all(done)).toEqual(Array(5).fill(undefined));
  expect(await Promise.all(started)).toHaveLength(2);
});

test("a refusal is an error with the server's code, words and time", async () => {
  FakeServer.last.welcomes();
  const refused = refusal(client.send({ content: "Hello" }));
  FakeServer.last.says({
    type: "error",
    re: FakeServer.last.idOf("send"),
    code: "rate_limited",
    message: "wait a moment",
    retry_after_seconds: 12,
  });
  const error = await refused;
  expect(error).toBeInstanceOf(ChatError);
  expect([error.code, error.message, error.retryAfterSeconds]).toEqual(["rate_limited", "wait a moment", 12]);
});

test("what was not answered is sent again, unchanged and in order", async () => {
  FakeServer.last.welcomes();
  const taken = client.send({ content: "one" });
  client.stop(A1).catch(() => {});
  const first = FakeServer.last.sent;
  const again = reconnect();
  expect(again.sent).toEqual(first);
  again.says(accepted(again.idOf("send")));
  expect((await taken).answer).toBe(A1);
  expect(reconnect().sent.map((frame) => frame.type)).toEqual(["hello", "watch", "stop"]);
});

test("a message that had arrived before the break is not lost with its end", async () => {
  FakeServer.last.welcomes();
  const taken = client.send({ content: "Hello" });
  const server = reconnect();
  server.says(accepted(server.idOf("send"), { duplicate: true }));
  expect((await taken).duplicate).toBe(true);
  // The answer may have ended meanwhile, which the server tells only whoever asks.
  expect(watches(server.asked)).toEqual([
    { type: "watch", conversation: C, answers: [{ message: A1, position: 0 }] },
  ]);
});

test("after a break it watches again, from the position of each open answer", async () => {
  await begin("Once");
  const server = reconnect();
  expect(server.asked).toEqual([{ type: "watch", conversation: C, answers: [{ message: A1, position: 4 }] }]);
  server.says({ type: "ok", re: server.idOf("watch") });
  server.says({ type: "delta", answer: A1, position: 9, text: " upon" });
  server.says({ type: "done", answer: A1, position: 9, status: "done", finish_reason: "stop", revision: 2 });
  expect(client.getState().answers.get(A1)).toMatchObject({ text: "Once upon", status: "done" });
  expect(reconnect().asked).toEqual([{ type: "watch", conversation: C, answers: [] }]);
});

test("the list is watched again after a break, and each time the page is told to fetch it", async () => {
  const events: string[] = [];
  client.subscribe((_state, event) => events.push(event.type));
  const watching = client.watchList();
  FakeServer.last.welcomes();
  // Before it is answered, it is the same request; afterwards a new one.
  const server = reconnect();
  expect(server.asked).toEqual([{ type: "watch_list" }]);
  server.says({ type: "ok", re: server.idOf("watch_list") });
  await watching;
  server.says({ type: "list", conversation: C, revision: 3, what: "changed" });
  expect(events.slice(-3)).toEqual(["ok", "list_watched", "list"]);
  const again = reconnect();
  expect(again.asked).toEqual([{ type: "watch_list" }]);
  again.says({ type: "ok", re: again.idOf("watch_list") });
  expect(events.at(-1)).toBe("list_watched");
  expect(client.getState().chats.size).toBe(0);
});

test("what is no longer watched is not watched again", async () => {
  await begin("Once");
  client.unwatch(C).catch(() => {});
  FakeServer.last.says({ type: "ok", re: FakeServer.last.idOf("unwatch") });
  expect(reconnect().asked).toEqual([]);
});

test("a conversation that is gone after a break is deleted here, too", async () => {
  await begin("Once");
  const server = reconnect();
  server.says({ type: "error", re: server.idOf("watch"), code: "not_found", message: "none" });
  expect(client.getState().chats.get(C)?.deleted).toBe(true);
  expect(reconnect().asked).toEqual([]);
});

test("a watch that the server cannot serve now is tried again", async () => {
  await begin("Once");
  const server = reconnect();
  server.says({ type: "error", re: server.idOf("watch"), code: "storage_unavailable", message: "later" });
  vi.advanceTimersByTime(2_000);
  expect(watches(server.asked)).toHaveLength(2);
});

test("what was to be watched while the connection was closed is watched by the next one", async () => {
  await begin("Once");
  FakeServer.last.breaks(4409, "too many sockets");
  expect((await refusal(client.watch("D"))).code).toBe("closed");
  client.connect();
  FakeServer.last.welcomes();
  expect(watches(FakeServer.last.asked).map(({ conversation }) => conversation)).toEqual([C, "D"]);
});

test("a first watch that the server cannot serve now is tried again, and one of nothing is not", async () => {
  FakeServer.last.welcomes();
  for (const code of ["storage_unavailable", "not_found"] as const) {
    const refused = refusal(client.watch(C));
    FakeServer.last.says({ type: "error", re: FakeServer.last.idOf("watch"), code, message: "" });
    expect((await refused).code).toBe(code);
    if (code === "storage_unavailable") vi.advanceTimersByTime(2_000);
  }
  vi.advanceTimersByTime(2_000);
  expect(watches(FakeServer.last.asked)).toHaveLength(3);
  expect(reconnect().asked).toEqual([]);
});

test("a piece that is missing is asked for, once", async () => {
  await begin("Once");
  FakeServer.last.says({ type: "delta", answer: A1, position: 12, text: "a " });
  FakeServer.last.says({ type: "done", answer: A1, position: 12, status: "done", revision: 2 });
  expect(watches(FakeServer.last.asked)).toEqual([
    { type: "watch", conversation: C, answers: [{ message: A1, position: 4 }] },
  ]);
});

test("a server that restarts has not refused: the next one is asked", async () => {
  FakeServer.last.welcomes();
  const taken = client.send({ content: "Hello" });
  const re = FakeServer.last.idOf("send");
  FakeServer.last.says({ type: "error", re, code: "shutting_down", message: "restart" });
  const server = reconnect(4501);
  server.says(accepted(server.idOf("send")));
  expect(await taken).toMatchObject({ re });
});

test("a message taken back before the break is taken back", async () => {
  FakeServer.last.welcomes();
  const dropped = client.dropQueued(M1);
  const server = reconnect();
  server.says({ type: "error", re: server.idOf("drop_queued"), code: "not_found", message: "none" });
  await dropped;
  const unknown = refusal(client.dropQueued(M1));
  server.says({ type: "error", re: server.idOf("drop_queued"), code: "not_found", message: "none" });
  expect((await unknown).code).toBe("not_found");
});

test("a final close refuses what waits and what comes, until it is connected again", async () => {
  const waiting = refusal(client.send({ content: "Hello" }));
  FakeServer.last.breaks(4401, "not signed in");
  expect(await waiting).toMatchObject({ code: "closed", message: "not signed in" });
  expect((await refusal(client.stop(A1))).code).toBe("closed");
  client.connect();
  FakeServer.last.welcomes();
  client.stop(A1).catch(() => {});
  expect(FakeServer.last.asked).toEqual([{ type: "stop", message: A1 }]);
});

test("a message over the server's limit is refused here, for the server would close", async () => {
  FakeServer.last.welcomes();
  const refused = refusal(client.send({ content: "芝".repeat(44_000) }));
  expect(await refused).toMatchObject({ code: "too_large" });
  expect(FakeServer.last.asked).toEqual([]);
});

test("a message that something on the way refuses is not sent again", async () => {
  FakeServer.last.welcomes();
  client.stop(A1).catch(() => {});
  const refused = refusal(client.send({ content: "x".repeat(70_000) }));
  const server = reconnect(1009);
  expect((await refused).code).toBe("too_large");
  expect(server.asked).toEqual([{ type: "stop", message: A1 }]);
});

test("a message that may have been taken a day ago is not sent again", async () => {
  FakeServer.last.welcomes();
  const refused = refusal(client.send({ content: "Hello" }));
  FakeServer.last.breaks();
  vi.setSystemTime(24 * 60 * 60 * 1000);
  client.reconnectNow();
  FakeServer.last.welcomes();
  expect((await refused).code).toBe("expired");
  expect(FakeServer.last.asked).toEqual([]);
});

test("a message keeps the id that it was given", () => {
  client.send({ content: "Hello", id: "mine" }).catch(() => {});
  FakeServer.last.welcomes();
  expect(FakeServer.last.idOf("send")).toBe("mine");
});

test("an id that waits for its reply cannot be used for another message", async () => {
  client.send({ content: "Hello", id: "mine" }).catch(() => {});
  expect((await refusal(client.send({ content: "Bye", id: "mine" }))).code).toBe("conflict");
});

test("a listener that fails costs nobody a reply", async () => {
  const failures: unknown[] = [];
  vi.stubGlobal("queueMicrotask", (task: () => void) => {
    expect(task).toThrow("broken");
    failures.push(task);
  });
  client.subscribe(() => {
    throw new Error("broken");
  });
  FakeServer.last.welcomes();
  const taken = client.send({ content: "Hello" });
  FakeServer.last.says(accepted(FakeServer.last.idOf("send")));
  expect((await taken).answer).toBe(A1);
  expect(failures).not.toHaveLength(0);
});

test("listeners are told of each state, and of what made it, until they leave", () => {
  const listener = vi.fn();
  const leave = client.subscribe(listener);
  FakeServer.last.welcomes();
  expect(listener).toHaveBeenLastCalledWith(client.getState(), { type: "link", link: { name: "open" } });
  const calls = listener.mock.calls.length;
  leave();
  FakeServer.last.says({ type: "pong" });
  expect(listener).toHaveBeenCalledTimes(calls);
});

test("whoever asks while being told of the connection is asked for once", () => {
  client.subscribe((state, event) => {
    if (event.type === "link" && state.link.name === "open") client.stop(A1).catch(() => {});
    if (event.type === "welcome") client.watch(C).catch(() => {});
  });
  FakeServer.last.welcomes();
  expect(FakeServer.last.asked.map((frame) => frame.type)).toEqual(["watch", "stop"]);
});

test("of more than 32 conversations the oldest are not watched again, as on the server", async () => {
  FakeServer.last.welcomes();
  for (let n = 0; n < 33; n++) {
    client.send({ content: "Hello" }).catch(() => {});
    FakeServer.last.says(accepted(FakeServer.last.idOf("send"), { conversation: `C${n}`, answer: `A${n}` }));
  }
  expect(watches(reconnect().asked).map((frame) => frame.conversation)).toEqual(
    Array.from({ length: 32 }, (_, n) => `C${n + 1}`),
  );
});
