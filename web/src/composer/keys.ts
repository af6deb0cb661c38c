/** Which keys do what where a message is written. Pure: the components ask and act. */

/** What a rule needs of a `KeyboardEvent`. */
export type Key = Pick<
  KeyboardEvent,
  "key" | "keyCode" | "isComposing" | "shiftKey" | "ctrlKey" | "metaKey" | "altKey"
>;

export interface Field {
  empty: boolean;
  /** Fingers type here: Enter begins a new line, and a button sends. */
  touch: boolean;
}

const COMPOSING_KEY_CODE = 229;

/** Whether an input method takes this key. Some browsers tell it by the code alone. */
export function isComposing({ isComposing, keyCode }: Key): boolean {
  return isComposing || keyCode === COMPOSING_KEY_CODE;
}

/** What a key does in the field besides typing. */
export function fieldAction(key: Key, { empty, touch }: Field): "send" | "editLast" | undefined {
  if (isComposing(key)) return undefined;
  if (key.key === "Enter") {
    if (key.ctrlKey || key.metaKey) return "send";
    return key.shiftKey || key.altKey || touch ? undefined : "send";
  }
  const isPlain = !key.shiftKey && !key.ctrlKey && !key.metaKey && !key.altKey;
  return key.key === "ArrowUp" && isPlain && empty ? "editLast" : undefined;
}

/** Whether a key that is pressed outside of any field is meant for the message: a character, but no shortcut. */
export function isTyping(key: Key): boolean {
  if (isComposing(key) || key.ctrlKey || key.metaKey || key.altKey) return false;
  // The space bar scrolls and presses buttons; a question mark shows the shortcuts.
  return [...key.key].length === 1 && key.key !== " " && key.key !== "?";
}
