/** The whole chat: what its size changes, and which keys it hears. */
import { act, cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { App } from "../../src/app/App";
import type { ChatPage } from "../../src/app/page";
import { SHORTCUTS } from "../../src/app/shortcuts";
import { FakeGateway } from "./fakeGateway";

const size = { width: 1000, height: 800 };
const observers = new Set<() => void>();

class Sized {
  readonly #callback: () => void;
  constructor(callback: () => void) {
    this.#callback = callback;
  }
  observe(): void {
    observers.add(this.#callback);
  }
  disconnect(): void {
    observers.delete(this.#callback);
  }
}

beforeEach(() => {
  Object.assign(size, { width: 1000, height: 800 });
  vi.stubGlobal("matchMedia", () => ({ matches: false, addEventListener() {}, removeEventListener() {} }));
  vi.spyOn(Element.prototype, "getBoundingClientRect").mockImplementation(() => ({
    ...new DOMRect(),
    ...size,
  }));
  HTMLElement.prototype.scrollTo = () => {};
});

afterEach(cleanup);

function open(isEmbedded = false): ChatPage {
  const page = new FakeGateway().page({ isEmbedded });
  page.setPreferences({ language: "en" });
  render(<App page={page} />);
  return page;
}

function chat(): DOMStringMap {
  const { width, height, sidebar } = document.querySelector<HTMLElement>(".corral")?.dataset ?? {};
  return { width, height, sidebar };
}

test("a narrow or short chat is laid out so from its first moment, whatever the window is", () => {
  Object.assign(size, { width: 360, height: 300 });
  open();
  expect(chat()).toEqual({ width: "narrow", height: "short", sidebar: "closed" });
});

test("a chat that becomes wide again has its side bar as before", () => {
  vi.stubGlobal("ResizeObserver", Sized);
  const page = open();
  const resize = (width: number) => {
    size.width = width;
    act(() => {
      for (const observer of observers) observer();
    });
  };
  expect(chat()).toEqual({ width: "wide", height: "tall", sidebar: "open" });
  resize(700);
  expect(chat()).toEqual({ width: "narrow", height: "tall", sidebar: "closed" });
  act(() => page.store.setState({ drawer: true }));
  resize(1000);
  resize(700);
  expect(chat()).toEqual({ width: "narrow", height: "tall", sidebar: "closed" });
});

test("behind an open drawer nothing can be reached", () => {
  size.width = 360;
  const page = open();
  const main = () => document.querySelector(".main")?.hasAttribute("inert");
  expect(main()).toBe(false);
  act(() => page.store.setState({ drawer: true }));
  expect(main()).toBe(true);
});

test("the first stop of the Tab key leads to the message field", () => {
  open();
  fireEvent.click(screen.getByRole("button", { name: "Skip to the message field" }));
  expect(document.activeElement?.tagName).toBe("TEXTAREA");
});

test("a page of its own hears shortcuts everywhere, an embedded chat only those inside it", () => {
  const own = open();
  fireEvent.keyDown(document.body, { key: "k", ctrlKey: true });
  expect(own.store.getState().panel).toBe("search");
  cleanup();
  const embedded = open(true);
  fireEvent.keyDown(document.body, { key: "k", ctrlKey: true });
  expect(embedded.store.getState().panel).toBeUndefined();
  fireEvent.keyDown(screen.getByRole("textbox"), { key: "k", ctrlKey: true });
  expect(embedded.store.getState().panel).toBe("search");
});

test("the sheet lists every shortcut with the keys of this machine", async () => {
  vi.spyOn(navigator, "platform", "get").mockReturnValue("MacIntel");
  const page = open();
  act(() => page.showPanel("shortcuts"));
  await screen.findByRole("dialog");
  const lines = [...document.querySelectorAll(".shortcuts > div")].map(({ textContent }) => textContent);
  expect(lines).toHaveLength(SHORTCUTS.length);
  expect(lines.slice(0, 4)).toEqual([
    "Search conversations⌘K",
    "New chat⇧⌘O",
    "Show or hide the list of conversations⌘B",
    "Show this list⌘/or?",
  ]);
});

test("a part that the server no longer has costs a notice, and not the page", async () => {
  vi.doMock("../../src/sidebar/Shortcuts", () => {
    throw new Error("404");
  });
  const page = open();
  act(() => page.showPanel("shortcuts"));
  await waitFor(() => expect(page.store.getState().panel).toBeUndefined());
  const notices = page.store.getState().notices.map(({ text }) => text);
  expect(notices).toEqual(["This part of the page could not be loaded. Reload the page."]);
  expect(screen.getByRole("main")).toBeTruthy();
  vi.doUnmock("../../src/sidebar/Shortcuts");
});
