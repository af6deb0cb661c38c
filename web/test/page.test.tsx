/** The page as its reader meets it, over a socket the test controls. */
import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { App } from "../src/App";
import { Session } from "../src/session";
import { TextContext, textFor } from "../src/text";
import { FakeSocket } from "./fakeSocket";

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.install();
  vi.spyOn(Math, "random").mockReturnValue(1);
  open("en");
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

function open(language: string): void {
  render(
    <TextContext value={textFor(language)}>
      <App session={new Session("ws://gateway/api/v1/ws/chat")} />
    </TextContext>,
  );
}

const input = () => screen.getByRole<HTMLTextAreaElement>("textbox");
const type = (value: string) => fireEvent.change(input(), { target: { value } });
const enter = (init: object = {}) => fireEvent.keyDown(input(), { key: "Enter", keyCode: 13, ...init });
const press = (name: string) => fireEvent.click(screen.getByRole("button", { name }));
const frame = () => act(() => vi.advanceTimersToNextFrame());
const thread = () =>
  [...document.querySelectorAll<HTMLElement>(".turn, .break")].map((element) => [
    element.dataset.state ?? element.dataset.reason,
    ...[...element.querySelectorAll(".answer, .note, .failure p")].map((part) => part.textContent),
  ]);

function ask(question: string): void {
  type(question);
  enter();
}

test("a question goes out and its answer grows frame by frame until it is done", () => {
  FakeSocket.last.opens();
  ask("  two lines\nof question ");
  expect(FakeSocket.last.sent).toEqual([{ content: "  two lines\nof question " }]);
  FakeSocket.last.says({ type: "delta", content: "Hel" }, { type: "delta", content: "lo" });
  expect(thread()).toEqual([["answering"]]);
  frame();
  expect(thread()).toEqual([["answering", "Hello"]]);
  FakeSocket.last.says({ type: "surprise" }, { type: "delta", content: " there" }, { type: "done" });
  expect(thread()).toEqual([["done", "Hello there"]]);
});

test("what the model writes is shown as text, never as markup", () => {
  const answer = '<script>alert(1)</script><img src="http://evil/" onerror="alert(2)">';
  FakeSocket.last.opens();
  ask("attack");
  FakeSocket.last.says({ type: "delta", content: answer }, { type: "done" });
  expect(thread()).toEqual([["done", answer]]);
  expect(document.querySelectorAll("script, img")).toHaveLength(0);
});

test("Shift+Enter and a blank draft send nothing", () => {
  FakeSocket.last.opens();
  type("draft");
  enter({ shiftKey: true });
  type(" \n ");
  enter();
  expect(FakeSocket.last.sent).toEqual([]);
});

test("Enter never sends while an input method is composing, nor as its composition ends", () => {
  FakeSocket.last.opens();
  type("你好");
  enter({ isComposing: true });
  enter({ keyCode: 229 });
  fireEvent.compositionEnd(input());
  enter();
  expect(FakeSocket.last.sent).toEqual([]);
  vi.advanceTimersByTime(60);
  enter();
  expect(FakeSocket.last.sent).toEqual([{ content: "你好" }]);
});

test("stop closes the socket, keeps the text and says that the model starts afresh", () => {
  FakeSocket.last.opens();
  ask("question");
  FakeSocket.last.says({ type: "delta", content: "half an ans" });
  const stopped = FakeSocket.last;
  press("Stop");
  stopped.says({ type: "delta", content: "late" });
  expect([stopped.closedByPage, FakeSocket.all.length]).toEqual([true, 2]);
  expect(thread()).toEqual([
    ["stopped", "half an ans", "Stopped by you. The answer is incomplete."],
    ["stopped"],
  ]);
  ask("next");
  FakeSocket.last.opens();
  expect(FakeSocket.last.sent).toEqual([{ content: "next" }]);
});

test("Escape stops too", () => {
  FakeSocket.last.opens();
  ask("question");
  fireEvent.keyDown(input(), { key: "Escape" });
  expect(thread()[0]?.[0]).toBe("stopped");
});

test("new chat resets an idle conversation over the same socket", () => {
  FakeSocket.last.opens();
  ask("question");
  FakeSocket.last.says({ type: "delta", content: "answer" }, { type: "done" });
  press("New chat");
  FakeSocket.last.says({ type: "reset_ok" });
  expect([thread(), FakeSocket.last.sent, FakeSocket.all.length]).toEqual([
    [],
    [{ content: "question" }, { type: "reset" }],
    1,
  ]);
});

test("new chat during an answer takes a fresh socket", () => {
  FakeSocket.last.opens();
  ask("question");
  press("New chat");
  expect([thread(), FakeSocket.all.map((socket) => socket.closedByPage)]).toEqual([[], [true, false]]);
});

test("messages asked offline wait in sight and go out in order, one answer at a time", () => {
  ask("first");
  ask("second");
  const waits = "Will be sent once the connection is back";
  expect(thread()).toEqual([
    ["waiting", waits],
    ["waiting", waits],
  ]);
  FakeSocket.last.opens();
  expect(FakeSocket.last.sent).toEqual([{ content: "first" }]);
  expect(thread()).toEqual([["answering"], ["waiting", "Will be sent after the current answer"]]);
  FakeSocket.last.says({ type: "delta", content: "one" }, { type: "done" });
  expect(FakeSocket.last.sent).toEqual([{ content: "first" }, { content: "second" }]);
});

test("a lost connection marks the answer incomplete, keeps the draft, and Retry asks again", () => {
  FakeSocket.last.opens();
  ask("q1");
  FakeSocket.last.says({ type: "delta", content: "a1" }, { type: "done" });
  ask("q2");
  type("my draft");
  FakeSocket.last.says({ type: "delta", content: "half" });
  FakeSocket.last.breaks();
  expect(thread()).toEqual([
    ["done", "a1"],
    ["failed", "half", "This answer is incomplete. The connection was lost."],
    ["lost"],
  ]);
  expect([input().value, input().disabled]).toEqual(["my draft", false]);
  expect(screen.getByRole("button", { name: "Reconnecting in 1 s" })).toBeTruthy();
  press("Retry");
  act(() => vi.advanceTimersByTime(500));
  FakeSocket.last.opens();
  expect(FakeSocket.last.sent).toEqual([{ content: "q2" }]);
  expect(thread()).toEqual([["done", "a1"], ["lost"], ["answering"]]);
});

test("an error of the server stands under the partial answer, and the next question works", () => {
  FakeSocket.last.opens();
  ask("q1");
  FakeSocket.last.says({ type: "delta", content: "half" }, { type: "error", message: "model went away" });
  expect(thread()).toEqual([["failed", "half", "This answer is incomplete. model went away"]]);
  ask("q2");
  FakeSocket.last.says({ type: "delta", content: "whole" }, { type: "done" });
  expect(thread()[1]).toEqual(["done", "whole"]);
});

test("an answer without a word says so, whether it failed or is done", () => {
  FakeSocket.last.opens();
  ask("q1");
  FakeSocket.last.says({ type: "error", message: "too many are waiting" });
  ask("q2");
  FakeSocket.last.says({ type: "done" });
  expect(thread()).toEqual([
    ["failed", "No answer. too many are waiting"],
    ["done", "The model had nothing to say."],
  ]);
});

test("the pill connects at once when pressed", () => {
  FakeSocket.last.breaks();
  press("Reconnecting in 1 s");
  FakeSocket.last.opens();
  expect(document.querySelector("[data-link]")?.textContent).toBe("Connected");
});

test("screen readers hear what happened, not every token", () => {
  const heard = () => screen.getAllByRole("status").map((region) => region.textContent);
  FakeSocket.last.opens();
  ask("question");
  expect(heard()).toEqual(["Connected", "The model is working on an answer"]);
  FakeSocket.last.breaks();
  expect(heard()).toEqual(["The connection was lost. The page keeps trying to reconnect.", "No answer."]);
  expect(screen.getByRole("log").getAttribute("aria-live")).toBe("off");
});

test("a Chinese browser gets a Chinese page", () => {
  cleanup();
  open("zh-CN");
  FakeSocket.last.opens();
  const words = screen.getAllByRole("button").map((button) => button.textContent);
  expect([...words, document.querySelector("[data-link]")?.textContent]).toEqual([
    "新对话",
    "发送",
    "已连接",
  ]);
});
