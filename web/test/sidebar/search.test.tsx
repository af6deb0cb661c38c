/** The search dialog as a person uses it. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { ChatPage } from "../../src/app/page";
import type { Found } from "../../src/client";
import { Search } from "../../src/sidebar/Search";
import { conversation, FakeGateway } from "../app/fakeGateway";
import { show } from "../app/show";

let gateway: FakeGateway;
let page: ChatPage;
const onClose = vi.fn();

beforeEach(async () => {
  vi.useFakeTimers();
  onClose.mockClear();
  gateway = new FakeGateway(conversation("a", { updated_ms: 1 }), conversation("b", { updated_ms: 2 }));
  page = gateway.page();
  await page.conversations.refresh();
  gateway.asked.length = 0;
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const cheese: Found[] = [
  { conversation: "a", title: "Cheese", excerpt: "Cheese" },
  { conversation: "b", title: "Dinner", message: "m2", excerpt: "…some cheese, please" },
];

function field(): HTMLElement {
  return screen.getByRole("combobox");
}

/** Types a query and waits for as long as the search does. */
async function type(query: string, waitMs = 200): Promise<void> {
  fireEvent.change(field(), { target: { value: query } });
  await act(() => vi.advanceTimersByTimeAsync(waitMs));
}

function options(): string[] {
  return screen.queryAllByRole("option").map(({ textContent }) => textContent);
}

function chosen(): string | null {
  return document.getElementById(field().getAttribute("aria-activedescendant") ?? "")?.textContent ?? null;
}

test("before a word is typed it shows the last conversations", () => {
  show(page, <Search onClose={onClose} />);
  expect(options()).toEqual(["Title b", "Title a"]);
});

test("it searches once the typing pauses, and marks the words", async () => {
  gateway.found = cheese;
  show(page, <Search onClose={onClose} />);
  await type("ch", 50);
  await type("cheese");
  expect(gateway.asked).toEqual(["GET search?q=cheese&limit=40"]);
  expect(options()).toEqual(["Cheese", "Dinner…some cheese, please"]);
  const marks = document.querySelectorAll("mark");
  expect([...marks].map(({ textContent }) => textContent)).toEqual(["Cheese", "cheese"]);
});

test.each(["芝士", "雨"])("%s is searched for as it is", async (query) => {
  show(page, <Search onClose={onClose} />);
  await type(query);
  expect(gateway.asked).toEqual([`GET search?q=${encodeURIComponent(query)}&limit=40`]);
});

test("an answer to an older query is dropped", async () => {
  show(page, <Search onClose={onClose} />);
  let release = () => {};
  gateway.gate = new Promise((resolve) => {
    release = resolve;
  });
  await type("che");
  gateway.gate = undefined;
  await type("cheese");
  gateway.found = cheese;
  release();
  await act(() => vi.advanceTimersByTimeAsync(0));
  expect(options()).toEqual([]);
});

test("arrow keys choose in a circle, and Enter opens the message", async () => {
  gateway.found = cheese;
  show(page, <Search onClose={onClose} />);
  await type("cheese");
  const open = vi.spyOn(page, "open").mockImplementation(() => {});
  expect(chosen()).toBe("Cheese");
  fireEvent.keyDown(field(), { key: "ArrowUp" });
  expect(chosen()).toBe("Dinner…some cheese, please");
  fireEvent.keyDown(field(), { key: "Enter", isComposing: true });
  expect(open.mock.calls).toEqual([]);
  fireEvent.keyDown(field(), { key: "Enter" });
  expect(open.mock.calls).toEqual([["b", "m2"]]);
  expect(onClose).toHaveBeenCalledOnce();
});

test("Enter that comes before the answer opens what is found, and no older hit", async () => {
  gateway.found = cheese;
  show(page, <Search onClose={onClose} />);
  await type("cheese");
  const open = vi.spyOn(page, "open").mockImplementation(() => {});
  gateway.found = cheese.slice(1);
  await type("cheese please", 0);
  fireEvent.keyDown(field(), { key: "Enter" });
  expect(open.mock.calls).toEqual([]);
  await act(() => vi.advanceTimersByTimeAsync(200));
  expect(open.mock.calls).toEqual([["b", "m2"]]);
});

test("a click opens what it is on", async () => {
  show(page, <Search onClose={onClose} />);
  fireEvent.click(screen.getByRole("option", { name: "Title a" }));
  expect(page.store.getState().open).toBe("a");
});

test("it says when nothing was found, and when it could not search", async () => {
  show(page, <Search onClose={onClose} />);
  await type("zebra");
  expect(screen.getByRole("status").textContent).toContain("Nothing found for “zebra”.");
  gateway.failsWith = "storage_unavailable";
  await type("zebras");
  expect(screen.getByRole("status").textContent).toBe("The search could not be done.");
});
