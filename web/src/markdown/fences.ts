/** The code inside a fence, and what the fence says about it. */
import type { Block } from "./blocks";

export interface FencedCode {
  code: string;
  language: string;
}

const OPENING = /^(?:[ \t]*\r?\n)*( {0,3})(`{3,}|~{3,})[ \t]*([^\n]*)(?:\n|$)/;
/** What may be the beginning of the closing fence. */
const CLOSING_BEGINS = /(?:^|\n) {0,3}(?:`+|~+)$/;

/** Reads a block of code. While it runs, a last line that may become the closing fence is left out. */
export function fencedCode({ text, closed }: Block, running: boolean): FencedCode {
  const [opening = "", indent = "", , info = ""] = OPENING.exec(text) ?? [];
  let code = text.slice(opening.length);
  if (closed) code = withoutLastLine(code.trimEnd());
  else if (running && CLOSING_BEGINS.test(code.slice(-80))) code = withoutLastLine(code);
  else if (code.endsWith("\n")) code = code.slice(0, -1);
  if (indent.length > 0) code = code.replaceAll(new RegExp(`^ {1,${indent.length}}`, "gm"), "");
  if (code.includes("\r")) code = code.replaceAll("\r\n", "\n");
  const language = /^[^\s{,:]+/.exec(info.trim())?.[0] ?? "";
  return { code, language };
}

function withoutLastLine(code: string): string {
  return code.slice(0, Math.max(0, code.lastIndexOf("\n")));
}
