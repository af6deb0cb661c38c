/** When the client connects again, when it gives up, and how it notices a dead line. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatSocket, type SocketOptions } from "../../src/client/socket";
import { FakeServer, welcome } from "./fakeServer";

const events = { onLink: vi.fn(), onFrame: vi.fn() };
let socket: ChatSocket;

function start(options: Partial<SocketOptions> = {}): void {
  socket = new ChatSocket({ url: "ws://gateway/api", open: FakeServer.open, ...options }, events);
  socket.start();
}

beforeEach(() => {
  vi.useFakeTimers({ now: 0 });
  FakeServer.all = [];
  vi.spyOn(Math, "random").mockReturnValue(1);
  for (const event of Object.values(events)) event.mockReset();
});

afterEach(() => {
  socket.stop();
  vi.useRealTimers();
});

/** The wait before the next socket after the current one closed. */
function waitAfter(code = 1006): number {
  const before = FakeServer.all.length;
  const start = Date.now();
  FakeServer.last.breaks(code);
  while (FakeServer.all.length === before) vi.advanceTimersToNextTimer();
  return Date.now() - start;
}

test("the first frame is the hello, with ticket and language, on the subprotocol", async () => {
  start({ ticket: async () => "t1", locale: "zh-CN" });
  await vi.advanceTimersByTimeAsync(0);
  FakeServer.last.welcomes();
  expect([FakeServer.last.url, FakeServer.last.protocol]).toEqual(["ws://gateway/api", "chat.v2"]);
  expect(FakeServer.last.sent).toEqual([{ type: "hello", version: 2, ticket: "t1", locale: "zh-CN" }]);
});

test("the link is open after the welcome, which is heard first", () => {
  start();
  FakeServer.last.onopen?.();
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "connecting" });
  events.onFrame.mockImplementation(() => {
    expect(events.onLink).toHaveBeenLastCalledWith({ name: "connecting" });
  });
  FakeServer.last.says(welcome);
  expect(events.onFrame).toHaveBeenCalledWith(welcome);
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "open" });
});

test("the wait doubles from half a second to a ceiling of thirty", () => {
  start();
  const waits = Array.from({ length: 9 }, () => waitAfter());
  expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
});

test("the wait is drawn from the whole range below the ceiling", () => {
  start();
  vi.mocked(Math.random).mockReturnValueOnce(0.5).mockReturnValueOnce(0.25).mockReturnValueOnce(0);
  expect([waitAfter(), waitAfter(), waitAfter()]).toEqual([250, 250, 0]);
});

test("a welcome does not start the schedule over, the frame after it does", () => {
  start();
  waitAfter();
  FakeServer.last.welcomes();
  expect(waitAfter()).toBe(1_000);
  FakeServer.last.welcomes();
  FakeServer.last.says({ type: "ok", re: "w1" });
  expect(waitAfter()).toBe(500);
});

test.each([4503, 4504, 4599, 1006, 1001, 1000, 1011])("after %i it connects again", (code) => {
  start();
  FakeServer.last.welcomes();
  expect(waitAfter(code)).toBe(500);
});

test.each([4400, 4401, 4409, 4499, 1002, 1003, 1007])("%i is final, until it is started again", (code) => {
  start();
  FakeServer.last.welcomes();
  FakeServer.last.breaks(code, "why");
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "closed", code, reason: "why" });
  window.dispatchEvent(new Event("online"));
  vi.advanceTimersByTime(120_000);
  expect(FakeServer.all).toHaveLength(1);
  socket.start();
  expect(FakeServer.all).toHaveLength(2);
});

test("a goodbye says how long to wait at least, once", () => {
  start();
  FakeServer.last.welcomes();
  FakeServer.last.says({ type: "goodbye", code: 4501, reason: "restart", after_seconds: 3 });
  expect(waitAfter(4501)).toBe(3_500);
  expect(waitAfter()).toBe(1_000);
});

test.each([
  ["the network comes back", () => window.dispatchEvent(new Event("online"))],
  ["the page is shown", () => window.dispatchEvent(new Event("pageshow"))],
  ["the page becomes visible", () => document.dispatchEvent(new Event("visibilitychange"))],
])("it connects at once when %s", (_name, comeBack) => {
  start();
  FakeServer.last.breaks();
  comeBack();
  expect(FakeServer.all).toHaveLength(2);
});

test("coming back asks an open socket whether it lives, and replaces a dead one", () => {
  start();
  FakeServer.last.welcomes();
  window.dispatchEvent(new Event("online"));
  expect(FakeServer.last.asked).toEqual([{ type: "ping" }]);
  vi.advanceTimersByTime(9_999);
  window.dispatchEvent(new Event("online"));
  vi.advanceTimersByTime(1);
  expect(FakeServer.last.closedByClient).toBe(true);
});

test("silence beyond the heartbeat and ten seconds is a ping, and ten more an end", () => {
  start();
  FakeServer.last.welcomes();
  vi.advanceTimersByTime(34_999);
  expect(FakeServer.last.asked).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(FakeServer.last.asked).toEqual([{ type: "ping" }]);
  FakeServer.last.says({ type: "pong" });
  vi.advanceTimersByTime(35_000);
  expect(FakeServer.last.asked).toHaveLength(2);
  vi.advanceTimersByTime(10_000);
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "waiting", retryAt: 80_500, code: 1006 });
});

test("a socket without a welcome within ten seconds is given up", () => {
  start();
  FakeServer.last.onopen?.();
  vi.advanceTimersByTime(10_000);
  expect(FakeServer.last.closedByClient).toBe(true);
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "waiting", retryAt: 10_500, code: 1006 });
});

test("each attempt has a ticket of its own, and one that cannot be had counts as a failure", async () => {
  const ticket = vi
    .fn()
    .mockResolvedValueOnce("t1")
    .mockRejectedValueOnce(new Error("503"))
    .mockResolvedValue("t3");
  start({ ticket });
  await vi.advanceTimersByTimeAsync(0);
  FakeServer.last.breaks(4502);
  await vi.advanceTimersByTimeAsync(500);
  expect(FakeServer.all).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1_000);
  FakeServer.last.onopen?.();
  expect(FakeServer.last.sent).toEqual([{ type: "hello", version: 2, ticket: "t3" }]);
});

test("a ticket that comes after the end opens nothing", async () => {
  start({ ticket: () => new Promise((resolve) => setTimeout(() => resolve("late"), 5_000)) });
  socket.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(FakeServer.all).toHaveLength(0);
});

test("an address that cannot be opened is final", () => {
  start({
    open: () => {
      throw new Error("not allowed");
    },
  });
  expect(events.onLink).toHaveBeenLastCalledWith({
    name: "closed",
    code: 1006,
    reason: "Error: not allowed",
  });
});

test("what is no frame is ignored", () => {
  start();
  for (const data of ["<html>", "null", "[]", "7", '{"type":7}', new ArrayBuffer(4)]) {
    FakeServer.last.onmessage?.({ data });
  }
  expect(events.onFrame).not.toHaveBeenCalled();
});

test("whoever is told of a frame may end the connection", () => {
  start();
  events.onFrame.mockImplementation(() => socket.stop());
  FakeServer.last.welcomes();
  vi.advanceTimersByTime(120_000);
  expect(events.onLink).toHaveBeenLastCalledWith({ name: "closed", code: 1000, reason: "" });
  expect(FakeServer.all).toHaveLength(1);
});
