/** Which parts of an excerpt are marked. */
import { expect, test } from "vitest";
import { markWords } from "../../src/sidebar/marks";

/** The text with brackets around what was found. */
function marked(text: string, query: string): string {
  const pieces = markWords(text, query);
  return pieces.map(({ text, found }) => (found ? `[${text}]` : text)).join("");
}

test.each([
  ["Fry the Cheese, fry it", "fry cheese", "[Fry] the [Cheese], [fry] it"],
  ["芝士可以用来做芝士蛋糕", "芝士", "[芝士]可以用来做[芝士]蛋糕"],
  ["明天会下雨吗", "雨", "明天会下[雨]吗"],
  ["abc ab", "a ab", "[ab]c [ab]"],
  ["1 + 1 (two)", "+ (two)", "1 [+] 1 [(two)]"],
  ["ÉCLAIR éclair", "éclair", "[ÉCLAIR] [éclair]"],
  ["nothing here", "cheese", "nothing here"],
  ["nothing asked", "  ", "nothing asked"],
  ["", "cheese", ""],
])("%j searched for %j is %j", (text, query, expected) => {
  expect(marked(text, query)).toBe(expected);
});
