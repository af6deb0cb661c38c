/** When the page connects again, and what it stops listening to. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Connection } from "../src/connection";
import { FakeSocket } from "./fakeSocket";

const events = { onLink: vi.fn(), onMessage: vi.fn(), onLost: vi.fn() };
let connection: Connection;
let stop: () => void;

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  FakeSocket.install();
  vi.spyOn(Math, "random").mockReturnValue(1);
  for (const event of Object.values(events)) event.mockReset();
  connection = new Connection("ws://gateway/api", events);
  stop = connection.start();
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

/** The wait before the next socket after the current one failed. */
function waitAfterFailure(): number {
  const before = FakeSocket.all.length;
  const start = Date.now();
  FakeSocket.last.breaks();
  while (FakeSocket.all.length === before) vi.advanceTimersToNextTimer();
  return Date.now() - start;
}

test("the wait doubles from half a second to a ceiling of thirty", () => {
  const waits = Array.from({ length: 9 }, waitAfterFailure);
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
});

test("the wait is drawn from the whole range below the ceiling", () => {
  vi.mocked(Math.random).mockReturnValueOnce(0.5).mockReturnValueOnce(0.25).mockReturnValueOnce(0);
  expect([waitAfterFailure(), waitAfterFailure(), waitAfterFailure()]).toEqual([250, 250, 0]);
});

test("a minute of health starts the schedule over, a shorter one does not", () => {
  waitAfterFailure();
  waitAfterFailure();
  FakeSocket.last.opens();
  vi.advanceTimersByTime(59_999);
  expect(waitAfterFailure()).toBe(2_000);
  FakeSocket.last.opens();
  vi.advanceTimersByTime(60_000);
  expect(waitAfterFailure()).toBe(500);
});

test.each([
  ["the network comes back", () => window.dispatchEvent(new Event("online"))],
  ["the reader comes back", () => document.dispatchEvent(new Event("visibilitychange"))],
])("it connects at once when %s", (_name, comeBack) => {
  FakeSocket.last.breaks();
  expect(FakeSocket.all).toHaveLength(1);
  comeBack();
  expect(FakeSocket.all).toHaveLength(2);
});

test("coming back leaves a live socket alone", () => {
  FakeSocket.last.opens();
  window.dispatchEvent(new Event("online"));
  expect([FakeSocket.all.length, FakeSocket.last.closedByPage]).toEqual([1, false]);
});

test("a socket that does not open within ten seconds is given up", () => {
  vi.advanceTimersByTime(10_000);
  expect(FakeSocket.last.closedByPage).toBe(true);
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "waiting", retryAt: 10_500 });
});

test("only a socket that was open counts as lost, with its close code", () => {
  FakeSocket.last.breaks();
  expect(events.onLost).not.toHaveBeenCalled();
  vi.advanceTimersByTime(500);
  FakeSocket.last.opens();
  FakeSocket.last.breaks(1012);
  expect(events.onLost.mock.calls).toEqual([[1012]]);
});

test("a restart opens a fresh socket at once and never hears the old one again", () => {
  const old = FakeSocket.last;
  old.opens();
  connection.restart();
  old.says({ type: "delta", content: "late" });
  old.breaks();
  expect([old.closedByPage, FakeSocket.all.length]).toEqual([true, 2]);
  expect(events.onMessage).not.toHaveBeenCalled();
  expect(events.onLost).not.toHaveBeenCalled();
});
