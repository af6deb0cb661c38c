/** Names of exported files, and what an import reads. */
import { expect, test } from "vitest";
import { fileName, readExports } from "../../src/sidebar/files";

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

test("one export or a list of them is imported, and nothing else", () => {
  const exported = { corral_export: 1, conversation: {}, messages: [] };
  const read = (value: unknown) => readExports(JSON.stringify(value));
  expect(read(exported)).toEqual([exported]);
  expect(read([exported, exported])).toEqual([exported, exported]);
  const texts = ["{}", "[]", "[1]", "null", '"corral_export"', "not JSON", ""];
  expect(texts.map(readExports)).toEqual(Array(7).fill(undefined));
  expect(read([exported, {}])).toBeUndefined();
});
