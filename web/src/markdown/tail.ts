/**
 * Makes sense of the half-written end of a text, so that it looks as it most likely will: open emphasis is closed, a
 * mark that may become something is held back, and a table's head is a table at once.
 */
import remend from "remend";
import { isBlank } from "./lines";

/** A line of nothing but marks says too little yet. */
const ONLY_MARKS = /(?:^|\n)[ \t]*(?:[`~*_#=+>|\\$-]+|!?\[)[ \t]*$/;

/** A formula that is not closed is held back for so many characters. */
const HELD_BACK = 80;
/** Code, escapes, and the markers of formulas. */
const MARKS = /(`+)[^`]*?\1|\\[()[\]]|\\.|\$+/gs;
const CLOSES: Readonly<Record<string, string>> = { "\\(": "\\)", "\\[": "\\]" };

export function completed(text: string): string {
  if (/^ {0,3}(?:\$\$|\\\[)/.test(text)) return text;
  const started = withoutOpenFormula(text).replace(ONLY_MARKS, "");
  return remend(withTableRule(started), {
    comparisonOperators: false,
    htmlTags: false,
    inlineKatex: false,
    katex: false,
    linkMode: "text-only",
    singleTilde: false,
  });
}

/** The text with a rule under what looks like the head of a table. */
function withTableRule(text: string): string {
  const lines = text.trimEnd().split("\n");
  const last = lines.at(-1) ?? "";
  const before = lines.at(-2) ?? "";
  const beginsRule = /^[ \t]*\|?[ \t]*:?-*[-|: \t]*$/.test(last) && last.includes("-");
  const head = beginsRule && before.includes("|") ? before : last;
  const above = (head === before ? lines.at(-3) : lines.at(-2)) ?? "";
  if (!/^ {0,3}\|/.test(head) || !isBlank(above)) return text;
  const cells = head
    .trim()
    .replace(/^\|/, "")
    .replace(/\|$/, "")
    .split(/(?<!\\)\|/).length;
  const kept = head === before ? lines.slice(0, -1) : lines;
  return `${kept.join("\n")}\n|${" - |".repeat(cells)}`;
}

/** The text without a formula at its end that is still being written. A price is none. */
function withoutOpenFormula(text: string): string {
  let open: { at: number; close: string } | undefined;
  for (const { 0: mark, index } of text.matchAll(MARKS)) {
    if (open) {
      if (mark === open.close) open = undefined;
    } else if (
      mark in CLOSES ||
      (mark.startsWith("$") && !/[\s\d$]|^$/.test(text.charAt(index + mark.length)))
    ) {
      open = { at: index, close: CLOSES[mark] ?? mark };
    }
  }
  return open && text.length - open.at <= HELD_BACK ? text.slice(0, open.at) : text;
}
