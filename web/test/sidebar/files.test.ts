/** Names of exported files, and what an import reads. */
import { expect, test } from "vitest";
import { fileName, readExport } from "../../src/sidebar/files";

test.each([
  ["Cheese cake", "Cheese cake.md"],
  ["如何做芝士蛋糕？", "如何做芝士蛋糕？.md"],
  ['a/b\\c:d*e?f"g<h>i|j', "a b c d e f g h i j.md"],
  ["../../etc/passwd", "etc passwd.md"],
  [".hidden.", "hidden.md"],
  ["two\nlines\u0000", "two lines.md"],
  ["🖼".repeat(100), `${"🖼".repeat(80)}.md`],
  ["///", "chat.md"],
  ["", "chat.md"],
])("a conversation called %j is exported as %j", (title, expected) => {
  expect(fileName(title, "md")).toBe(expected);
});

test("only an export is imported", () => {
  const exported = { corral_export: 1, conversation: {}, messages: [] };
  const texts = [JSON.stringify(exported), "{}", "[1]", "null", '"corral_export"', "not JSON", ""];
  expect(texts.map(readExport)).toEqual([exported, ...Array(6).fill(undefined)]);
});
