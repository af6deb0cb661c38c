/** A long conversation: only what has changed is drawn, and rows come a few at a time. */
import { act, cleanup, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { CHAT, cleanUp, FakeHttp, id, show, turns } from "./harness";

vi.setConfig({ testTimeout: 20_000 });

/** How often each answer was drawn. */
const drawn = vi.hoisted(() => new Map<string, number>());
const idle = vi.hoisted((): (() => void)[] => []);
const marks = vi.hoisted((): ((entries: { isIntersecting: boolean }[]) => void)[] => []);

vi.mock("../../src/markdown/Markdown", () => ({
  Markdown: ({ text }: { text: string }) => {
    drawn.set(text, (drawn.get(text) ?? 0) + 1);
    return <div className="markdown">{text}</div>;
  },
}));

beforeEach(() => {
  drawn.clear();
  idle.length = 0;
  marks.length = 0;
  // However slow the machine is, the steps are those of a fast one.
  vi.spyOn(performance, "now").mockReturnValue(0);
  vi.stubGlobal("requestIdleCallback", (run: () => void) => idle.push(run));
  vi.stubGlobal("cancelIdleCallback", (handle: number) => {
    idle[handle - 1] = () => {};
  });
  vi.stubGlobal(
    "IntersectionObserver",
    class {
      constructor(seen: (entries: { isIntersecting: boolean }[]) => void) {
        marks.push(seen);
      }
      observe() {}
      disconnect() {}
    },
  );
});

afterEach(() => {
  cleanup();
  cleanUp();
});

/** Lets the browser be idle until nothing more wants it. */
async function rest(): Promise<void> {
  for (let at = 0; at < idle.length; at += 1) await act(async () => idle[at]?.());
}

function rowElements(): [string | null, Element][] {
  const rows = document.querySelectorAll("[data-message]");
  return [...rows].map((row) => [row.getAttribute("data-message"), row]);
}

function shown(): (string | null)[] {
  return rowElements().map(([id]) => id);
}

function conversation(count: number): FakeHttp {
  const http = new FakeHttp();
  const messages = turns(count);
  const last = messages.at(-1)?.answer;
  if (last) Object.assign(last, { status: "running", text: "", position: 0 });
  http.has(messages);
  return http;
}

test("a growing answer draws itself and no other row of a long conversation", async () => {
  const http = conversation(25);
  http.pageSize = 50;
  const { says } = await show({ http });
  await rest();
  expect(shown()).toHaveLength(50);
  drawn.clear();
  for (let at = 1; at <= 30; at += 1) await says({ type: "delta", answer: id(50), position: at, text: "x" });
  expect([...drawn]).toEqual(Array.from({ length: 30 }, (_, at) => ["x".repeat(at + 1), 1]));
});

test("a conversation that was fetched again draws no answer again", async () => {
  const { says, settle, http } = await show({ http: conversation(20) });
  await rest();
  drawn.clear();
  const asked = http.asked.length;
  vi.useFakeTimers({ toFake: ["setTimeout"] });
  await says({ type: "changed", conversation: CHAT, revision: 5, what: "messages" });
  vi.advanceTimersByTime(1000);
  vi.useRealTimers();
  await settle();
  expect(http.asked.slice(asked)).toContain(`conversations/${CHAT}/messages`);
  expect([...drawn]).toEqual([]);
});

test("the end is there at once, and the rest a few rows at a time", async () => {
  await show({ http: conversation(40) });
  const counts = [shown().length];
  for (let at = 0; at < 3; at += 1) {
    await act(async () => idle.at(-1)?.());
    counts.push(shown().length);
  }
  expect(counts[0]).toBe(4);
  expect(counts.every((count, at) => at === 0 || count > (counts[at - 1] ?? 0))).toBe(true);
  expect(shown().at(-1)).toBe(id(80));
  await rest();
  expect(shown()).toEqual(Array.from({ length: 80 }, (_, at) => id(at + 1)));
});

test("a row stays the same element whatever comes above and below it", async () => {
  const http = conversation(30);
  http.pageSize = 20;
  const { settle, says } = await show({ http });
  await rest();
  const before = new Map(rowElements());
  await act(async () => marks.at(-1)?.([{ isIntersecting: true }]));
  await settle();
  await rest();
  await says({ type: "done", answer: id(60), position: 0, status: "stopped", revision: 2 });
  const after = new Map(rowElements());
  expect(after.size).toBe(40);
  expect([...before].filter(([id, element]) => after.get(id) !== element)).toEqual([]);
});

test("older messages are fetched once when the beginning comes near, and again after a failure", async () => {
  const http = conversation(30);
  http.pageSize = 20;
  const { settle } = await show({ http });
  await rest();
  expect(shown()[0]).toBe(id(41));
  const reach = async () => {
    await act(async () => {
      marks.at(-1)?.([{ isIntersecting: true }]);
      marks.at(-1)?.([{ isIntersecting: true }]);
    });
    await settle();
    await rest();
  };
  const asked = http.asked.length;
  await reach();
  expect(shown()[0]).toBe(id(21));
  expect(http.asked.length - asked).toBe(2);
  http.failures.set(`conversations/${CHAT}/messages`, { status: 503, code: "internal" });
  await reach();
  expect(shown()[0]).toBe(id(21));
  http.failures.clear();
  await act(async () => screen.getByRole("button", { name: "Try again" }).click());
  await reach();
  expect(shown()).toHaveLength(60);
  expect(document.querySelector(".older")).toBeNull();
});
