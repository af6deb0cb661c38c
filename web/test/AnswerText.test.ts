/** How a long answer is cut for the screen. */
import { expect, test } from "vitest";
import { blocksOf } from "../src/AnswerText";

test("the blocks join to the answer, and those before the last stay as they are while it grows", () => {
  const answer = `${"word ".repeat(100)}\n`.repeat(50);
  const blocks = blocksOf(answer);
  const grown = blocksOf(`${answer}and more`);
  expect(blocks.map((block) => block.text).join("")).toBe(answer);
  expect(blocks.length).toBe(13);
  expect(grown.slice(0, 12)).toEqual(blocks.slice(0, 12));
});

test("an empty answer has no block", () => {
  expect(blocksOf("")).toEqual([]);
});
