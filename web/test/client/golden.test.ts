/** The client and the golden frames: it takes every frame of the server's, and makes only frames that are among them. */
import { expect, test } from "vitest";
import { ChatClient } from "../../src/client/client";
import type { ClientFrame } from "../../src/client/protocol";
import { type ChatState, emptyState, reduce } from "../../src/client/state";
import { clientFrames, serverFrames } from "../goldenFrames";
import { FakeServer, welcome } from "./fakeServer";

const A = "01932c07-6c8a-7d3e-8a51-3f6f0c2b9d12";
/** They say nothing that is kept: the list is not in the state. */
const REPLIES = ["error", "ok", "pong", "goodbye", "list"];

function frozen<T>(value: T): T {
  if (typeof value === "object" && value !== null) Object.values(Object.freeze(value)).forEach(frozen);
  return value;
}

const welcomed = reduce(emptyState, welcome);

/** An end counts only where nothing is missing before it. */
function wholeUpTo(position: number): ChatState {
  return reduce(welcomed, { type: "snapshot", answer: A, position, text: "", status: "running" });
}

test("every golden frame of the server's changes the state, or is a reply, and changes no frame", () => {
  for (const frame of serverFrames) {
    const before = frame.type === "done" ? wholeUpTo(frame.position) : welcomed;
    const next = reduce(before, frozen(structuredClone(frame)));
    expect([frame.type, next === before]).toEqual([frame.type, REPLIES.includes(frame.type)]);
  }
});

test("all golden frames in a row leave the answer that they tell of", () => {
  const state = serverFrames.reduce<ChatState>(reduce, emptyState);
  expect(state.answers.get(A)).toMatchObject({ text: "Once upon a time.", reasoning: "hmm.", position: 21 });
  expect(state.welcome?.user).toEqual({ id: "u-17", name: "李雷" });
});

test("what a client sends are the golden frames", () => {
  FakeServer.all = [];
  const client = new ChatClient({ url: "ws://gateway/api", open: FakeServer.open });
  client.connect();
  FakeServer.last.welcomes();
  const ignore = () => {};
  for (const frame of clientFrames as ClientFrame[]) {
    if (frame.type === "send") client.send(frame).catch(ignore);
    if (frame.type === "regenerate") client.regenerate(frame.message, frame.options).catch(ignore);
    if (frame.type === "continue") client.continue(frame.message).catch(ignore);
    if (frame.type === "stop") client.stop(frame.message).catch(ignore);
    if (frame.type === "edit_queued") client.editQueued(frame.message, frame.content).catch(ignore);
    if (frame.type === "drop_queued") client.dropQueued(frame.message).catch(ignore);
    if (frame.type === "unwatch") client.unwatch(frame.conversation).catch(ignore);
    if (frame.type === "watch_list") client.watchList().catch(ignore);
  }
  const others = ["hello", "watch", "ping"];
  const golden = clientFrames.filter((frame) => !others.includes(frame.type));
  const withoutId = golden.map(({ id: _id, ...frame }: { id?: string; type: string }) => frame);
  expect(FakeServer.last.asked).toEqual(withoutId);
  client.close();
});
