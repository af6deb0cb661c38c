/**
 * What a line of Markdown begins, as far as blocks go. Pure; knows nothing of the lines around it.
 */

export interface Fence {
  kind: "fence";
  char: string;
  size: number;
  indent: number;
}

export interface ListItem {
  kind: "item";
  /** The bullet, or the delimiter after the number: items of one list share it. */
  marker: string;
  number: number | undefined;
  /** Lines of the item are indented at least this far. */
  offset: number;
  empty: boolean;
}

export interface MathStart {
  kind: "math";
  close: string;
  /** Text follows the opening marker, so that a blank line ends the formula too. */
  inline: boolean;
  /** The formula ends on its first line. */
  closed: boolean;
}

export type LineStart =
  | Fence
  | ListItem
  | MathStart
  | { kind: "heading" | "rule" | "quote" | "footnote" | "indented" | "text" };

const FENCE = /^( {0,3})(`{3,}(?=[^`]*$)|~{3,})/;
const HEADING = /^ {0,3}#{1,6}(?:[ \t]|$)/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}>/;
const FOOTNOTE = /^ {0,3}\[\^[^\]\s]+\]:/;
const ITEM = /^( {0,3})(?:([-+*])|(\d{1,9})([.)]))(?=([ \t]+)|$)/;
const MATH = /^ {0,3}(\$\$+|\\\[)(.*)$/;
const TABLE_RULE = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;

export const isBlank = (line: string): boolean => /^[ \t]*$/.test(line);

/** The line under a table's head. */
export const isTableRule = (line: string): boolean => line.includes("|") && TABLE_RULE.test(line);

/** Columns of white space before the text; a tab reaches the next multiple of four. */
export function indentOf(line: string): number {
  let columns = 0;
  for (const char of line) {
    if (char === " ") columns += 1;
    else if (char === "\t") columns += 4 - (columns % 4);
    else break;
  }
  return columns;
}

export function startOf(line: string): LineStart {
  if (indentOf(line) >= 4) return { kind: "indented" };
  const fence = FENCE.exec(line);
  if (fence) {
    const marker = fence[2] ?? "";
    return { kind: "fence", char: marker.charAt(0), size: marker.length, indent: (fence[1] ?? "").length };
  }
  if (HEADING.test(line)) return { kind: "heading" };
  if (RULE.test(line)) return { kind: "rule" };
  if (QUOTE.test(line)) return { kind: "quote" };
  if (FOOTNOTE.test(line)) return { kind: "footnote" };
  return itemOf(line) ?? mathOf(line) ?? { kind: "text" };
}

export function closesFence(line: string, char: string, size: number): boolean {
  const found = /^ {0,3}(`{3,}|~{3,})[ \t]*$/.exec(line)?.[1];
  return found?.startsWith(char) === true && found.length >= size;
}

function itemOf(line: string): ListItem | undefined {
  const found = ITEM.exec(line);
  if (!found) return undefined;
  const [whole, indent = "", bullet, number, delimiter, gap = ""] = found;
  const empty = isBlank(line.slice(whole.length));
  const spaces = gap === "" || empty ? 1 : indentOf(gap);
  return {
    kind: "item",
    marker: bullet ?? delimiter ?? "",
    number: number === undefined ? undefined : Number(number),
    offset: indent.length + (whole.length - indent.length) + (spaces > 4 ? 1 : spaces),
    empty,
  };
}

function mathOf(line: string): MathStart | undefined {
  const found = MATH.exec(line);
  if (!found) return undefined;
  const [, open = "", rest = ""] = found;
  const close = open === "\\[" ? "\\]" : open;
  const at = rest.indexOf(close);
  if (at < 0) return { kind: "math", close, inline: !isBlank(rest), closed: false };
  const alone = at > 0 && isBlank(rest.slice(at + close.length));
  return alone ? { kind: "math", close, inline: true, closed: true } : undefined;
}
