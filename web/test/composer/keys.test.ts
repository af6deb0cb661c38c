/** Which keys send, which only type. */
import { expect, test } from "vitest";
import { fieldAction, isTyping, type Key } from "../../src/composer/keys";

const key = (key: string, more: Partial<Key> = {}): Key => ({
  key,
  keyCode: 0,
  isComposing: false,
  shiftKey: false,
  ctrlKey: false,
  metaKey: false,
  altKey: false,
  ...more,
});
const desktop = { empty: true, touch: false };
const phone = { empty: true, touch: true };

test.each([
  ["Enter", key("Enter"), desktop, "send"],
  ["Shift+Enter", key("Enter", { shiftKey: true }), desktop, undefined],
  ["Alt+Enter", key("Enter", { altKey: true }), desktop, undefined],
  ["Ctrl+Enter", key("Enter", { ctrlKey: true }), desktop, "send"],
  ["Enter on a phone", key("Enter"), phone, undefined],
  ["Ctrl+Enter on a tablet with a keyboard", key("Enter", { ctrlKey: true }), phone, "send"],
  ["Enter that ends a composition", key("Enter", { isComposing: true }), desktop, undefined],
  ["Enter that an input method takes", key("Enter", { keyCode: 229 }), desktop, undefined],
  ["arrow up in an empty field", key("ArrowUp"), desktop, "editLast"],
  ["arrow up in a text", key("ArrowUp"), { empty: false, touch: false }, undefined],
  ["Shift+arrow up", key("ArrowUp", { shiftKey: true }), desktop, undefined],
  ["a letter", key("a"), desktop, undefined],
])("%s", (_name, pressed, field, action) => {
  expect(fieldAction(pressed, field)).toBe(action);
});

test.each([
  ["a", {}, true],
  ["A", { shiftKey: true }, true],
  ["é", {}, true],
  ["😀", {}, true],
  ["a", { ctrlKey: true }, false],
  ["a", { metaKey: true }, false],
  ["n", { keyCode: 229 }, false],
  [" ", {}, false],
  ["?", {}, false],
  ["Tab", {}, false],
  ["F5", {}, false],
  ["Enter", {}, false],
])("pressing %j %j outside of a field is typing: %s", (pressed, more, expected) => {
  expect(isTyping(key(pressed, more))).toBe(expected);
});
