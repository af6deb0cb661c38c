/** What becomes of a turn, whatever ends it. */
import { expect, test } from "vitest";
import { type Action, emptyChat, reduce } from "../src/chat";

const after = (...actions: Action[]) => actions.reduce(reduce, emptyChat).items;
const ask = (question: string): Action => ({ type: "ask", question });
const sent: Action = { type: "sent" };
const done: Action = { type: "done" };
const delta = (content: string): Action => ({ type: "delta", content });
const lost: Action = { type: "lost", tooLong: false };
const answered = (question: string, answer: string): Action[] => [ask(question), sent, delta(answer), done];
const turn = (id: number, question: string, answer: string, state: object) => ({
  kind: "turn",
  id,
  question,
  answer,
  state,
});

test("the joined deltas are the answer, and only done makes it whole", () => {
  const partial = [ask("q"), sent, delta("a\n"), delta(" b ")];
  expect(after(...partial)).toEqual([turn(1, "q", "a\n b ", { name: "answering" })]);
  expect(after(...partial, done)).toEqual([turn(1, "q", "a\n b ", { name: "done" })]);
});

test("an error keeps the partial answer, marked as failed", () => {
  const failure = { name: "server", message: "the model went away" };
  expect(
    after(ask("q"), sent, delta("half"), { type: "fail", message: "the model went away" }, done),
  ).toEqual([turn(1, "q", "half", { name: "failed", failure })]);
});

test("frames that no question waits for change nothing", () => {
  expect(after(delta("x"), done, { type: "fail", message: "m" }, { type: "stop" }, sent)).toEqual([]);
});

test("stopping keeps the text and says that the model starts afresh, before what still waits", () => {
  expect(after(ask("q"), sent, delta("half"), ask("next"), { type: "stop" })).toEqual([
    turn(1, "q", "half", { name: "stopped" }),
    { kind: "break", id: 3, reason: "stopped" },
    turn(2, "next", "", { name: "waiting" }),
  ]);
});

test("a lost connection fails the running answer and marks once what the model forgot", () => {
  expect(after(...answered("q1", "a1"), ask("q2"), sent, delta("half"), ask("q3"), lost, lost)).toEqual([
    turn(1, "q1", "a1", { name: "done" }),
    turn(2, "q2", "half", { name: "failed", failure: { name: "lost" } }),
    { kind: "break", id: 4, reason: "lost" },
    turn(3, "q3", "", { name: "waiting" }),
  ]);
});

test("a lost connection forgets nothing where nothing was remembered", () => {
  expect(after(ask("q"), lost)).toEqual([turn(1, "q", "", { name: "waiting" })]);
});

test("a message the server would not read says so", () => {
  expect(after(ask("q"), sent, { type: "lost", tooLong: true })).toEqual([
    turn(1, "q", "", { name: "failed", failure: { name: "too_long" } }),
  ]);
});

test("retry asks a failed question again, at the end", () => {
  expect(after(...answered("q1", "a1"), ask("q2"), sent, lost, { type: "retry", id: 2 })).toEqual([
    turn(1, "q1", "a1", { name: "done" }),
    { kind: "break", id: 3, reason: "lost" },
    turn(4, "q2", "", { name: "waiting" }),
  ]);
});

test("retry of a turn that did not fail changes nothing", () => {
  const items = after(...answered("q", "a"));
  expect(reduce({ items, nextId: 2 }, { type: "retry", id: 1 }).items).toBe(items);
});

test("a reset empties the thread and its outbox without using an id twice", () => {
  expect(after(...answered("q", "a"), ask("waits"), { type: "reset" }, ask("new"))).toEqual([
    turn(3, "new", "", { name: "waiting" }),
  ]);
});
