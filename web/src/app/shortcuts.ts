/**
 * The keyboard shortcuts, in one table: it says what the sheet lists and what a key does. A shortcut without `run`
 * belongs to the field that it works in.
 */
import { toggleSidebar } from "./layout";
import type { ChatPage } from "./page";
import type { Panel } from "./state";

/** `Mod` is the command key on Macs and Ctrl elsewhere. */
export type Key = "Mod" | "Shift" | "Enter" | "Esc" | "ArrowUp" | "K" | "O" | "B" | "/" | "?";

export type ShortcutName =
  | "search"
  | "newChat"
  | "sidebar"
  | "shortcuts"
  | "send"
  | "newLine"
  | "editLast"
  | "stop";

export interface Shortcut {
  name: ShortcutName;
  /** The combinations that do it, the usual one first. */
  keys: readonly (readonly Key[])[];
  run?: (page: ChatPage) => void;
}

export const SHORTCUTS: readonly Shortcut[] = [
  { name: "search", keys: [["Mod", "K"]], run: (page) => togglePanel(page, "search") },
  { name: "newChat", keys: [["Mod", "Shift", "O"]], run: newChat },
  { name: "sidebar", keys: [["Mod", "B"]], run: toggleSidebar },
  { name: "shortcuts", keys: [["Mod", "/"], ["?"]], run: (page) => togglePanel(page, "shortcuts") },
  { name: "send", keys: [["Enter"]] },
  { name: "newLine", keys: [["Shift", "Enter"]] },
  { name: "editLast", keys: [["ArrowUp"]] },
  { name: "stop", keys: [["Esc"]] },
];

/** Does what a key is for. Nothing happens while an input method is composing. */
export function dispatchShortcut(page: ChatPage, event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing || event.keyCode === 229) return;
  const found = SHORTCUTS.find(
    ({ run, keys }) => run && keys.some((combination) => fits(combination, event)),
  );
  if (!found?.run) return;
  event.preventDefault();
  found.run(page);
}

export function isMac(): boolean {
  return /mac|iphone|ipad/i.test(navigator.platform);
}

function fits(combination: readonly Key[], event: KeyboardEvent): boolean {
  const letter = combination.at(-1);
  const wantsMod = combination.includes("Mod");
  const hasMod = isMac() ? event.metaKey && !event.ctrlKey : event.ctrlKey && !event.metaKey;
  if (event.altKey || hasMod !== wantsMod) return false;
  if (!wantsMod) return event.key === letter && !isWriting(event);
  return event.shiftKey === combination.includes("Shift") && letterOf(event) === letter;
}

/** The key's letter. A keyboard without Latin letters has them at the usual places. */
function letterOf({ key, code }: KeyboardEvent): string {
  const isLatin = /^[\x20-\x7e]$/.test(key);
  return isLatin ? key.toUpperCase() : code.replace(/^Key/, "").replace("Slash", "/");
}

/** Whether the key would write something where the focus is. */
function isWriting(event: KeyboardEvent): boolean {
  const [target] = event.composedPath();
  return (
    target instanceof HTMLElement && (target.isContentEditable || target.matches("input, textarea, select"))
  );
}

function newChat(page: ChatPage): void {
  page.showPanel(undefined);
  page.store.setState({ drawer: false });
  page.open(undefined);
}

function togglePanel(page: ChatPage, panel: Panel): void {
  page.showPanel(page.store.getState().panel === panel ? undefined : panel);
}
