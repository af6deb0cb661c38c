/** What the keyboard does, on both kinds of keyboard. */
import { afterEach, expect, test, vi } from "vitest";
import type { ChatPage } from "../../src/app/page";
import { dispatchShortcut } from "../../src/app/shortcuts";
import { FakeGateway } from "./fakeGateway";

interface Press extends KeyboardEventInit {
  key: string;
  /** Where the focus is. */
  on?: HTMLElement;
}

afterEach(() => document.body.replaceChildren());

/** A page on a machine of this kind, and how to press a key there. Returns whether the press was taken. */
function machine(platform: string): { page: ChatPage; press: (press: Press) => boolean } {
  vi.spyOn(navigator, "platform", "get").mockReturnValue(platform);
  const page = new FakeGateway().page();
  const press = ({ on = document.body, ...init }: Press) => {
    const event = new KeyboardEvent("keydown", { bubbles: true, cancelable: true, composed: true, ...init });
    const listen = (event: Event) => dispatchShortcut(page, event as KeyboardEvent);
    window.addEventListener("keydown", listen);
    on.dispatchEvent(event);
    window.removeEventListener("keydown", listen);
    return event.defaultPrevented;
  };
  return { page, press };
}

function field(): HTMLElement {
  const field = document.createElement("textarea");
  document.body.append(field);
  return field;
}

test.each([
  ["Linux x86_64", { ctrlKey: true }, { metaKey: true }],
  ["MacIntel", { metaKey: true }, { ctrlKey: true }],
])("on %s its own key opens the search, and the other machine's does not", (platform, own, other) => {
  const { page, press } = machine(platform);
  expect(press({ key: "k", ...other })).toBe(false);
  expect(page.store.getState().panel).toBeUndefined();
  expect(press({ key: "k", ...own })).toBe(true);
  expect(page.store.getState().panel).toBe("search");
  press({ key: "k", ...own });
  expect(page.store.getState().panel).toBeUndefined();
});

test("Ctrl+Shift+O opens a new chat, closes what lies over it, and Ctrl+O is left to the browser", () => {
  const { page, press } = machine("Win32");
  page.store.setState({ open: "a", panel: "search" });
  expect(press({ key: "o", ctrlKey: true })).toBe(false);
  expect(press({ key: "O", ctrlKey: true, shiftKey: true })).toBe(true);
  const { open, panel } = page.store.getState();
  expect([open, panel]).toEqual([undefined, undefined]);
});

test("Ctrl+B hides the side bar; in a narrow chat it opens the drawer", () => {
  const { page, press } = machine("Win32");
  press({ key: "b", ctrlKey: true });
  expect(page.store.getState().preferences.sidebar).toBe(false);
  page.store.setState({ narrow: true });
  press({ key: "b", ctrlKey: true });
  expect(page.store.getState()).toMatchObject({ drawer: true, preferences: { sidebar: false } });
});

test("a question mark opens the sheet, but not while writing", () => {
  const { page, press } = machine("Win32");
  expect(press({ key: "?", shiftKey: true, on: field() })).toBe(false);
  expect(page.store.getState().panel).toBeUndefined();
  expect(press({ key: "?", shiftKey: true })).toBe(true);
  expect(page.store.getState().panel).toBe("shortcuts");
});

test("shortcuts with Ctrl act while writing, too", () => {
  const { page, press } = machine("Win32");
  press({ key: "/", ctrlKey: true, on: field() });
  expect(page.store.getState().panel).toBe("shortcuts");
});

test("a keyboard with other letters has them at the usual places", () => {
  const { page, press } = machine("Win32");
  press({ key: "л", code: "KeyK", ctrlKey: true });
  expect(page.store.getState().panel).toBe("search");
});

test("nothing happens while an input method is composing, or when somebody else has taken the key", () => {
  const { page, press } = machine("Win32");
  press({ key: "k", ctrlKey: true, isComposing: true });
  press({ key: "k", ctrlKey: true, keyCode: 229 });
  const taking = field();
  taking.addEventListener("keydown", (event) => event.preventDefault());
  press({ key: "k", ctrlKey: true, on: taking });
  expect(page.store.getState().panel).toBeUndefined();
});
