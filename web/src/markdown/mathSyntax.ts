/**
 * Formulas in Markdown: `$$...$$`, `\[...\]` and `\(...\)`, and `$...$` where it cannot be a price.
 *
 * Written here because remark-math, the usual one, knows no `\(`, lets
 * blank lines and text beside `$$` undo a formula, and takes "$5 and $10" for one.
 */
import type { Extension as FromMarkdown, Token as MdastToken } from "mdast-util-from-markdown";
import type { Extension } from "micromark-util-types";
import { BACKSLASH, DOLLAR } from "./mathCodes";
import { mathFlow } from "./mathFlow";
import { mathText } from "./mathText";

/** How micromark finds formulas. */
export const formulaSyntax: Extension = {
  flow: { [DOLLAR]: mathFlow, [BACKSLASH]: mathFlow },
  text: { [DOLLAR]: mathText, [BACKSLASH]: mathText },
};

/** The nodes that formulas become. */
export const formulaNodes: FromMarkdown = {
  enter: { formulaText: enterFormula, formulaFlow: enterFormula, formulaData: enterData },
  exit: { formulaText: exitFormula, formulaFlow: exitFormula, formulaData: exitData },
};

type Handle = NonNullable<FromMarkdown["enter"]>[keyof NonNullable<FromMarkdown["enter"]>];
type Context = ThisParameterType<NonNullable<Handle>>;

function enterFormula(this: Context, token: MdastToken): void {
  this.enter({ type: "formula", value: "", display: false, closed: false }, token);
  this.buffer();
}

function exitFormula(this: Context, token: MdastToken): void {
  const value = this.resume().replace(/^\n|\n$/g, "");
  const node = this.stack.at(-1);
  if (node?.type !== "formula") throw new Error("a formula ends that has not begun");
  node.value = value;
  node.display = token.display === true;
  node.closed = token.closed === true;
  this.exit(token);
}

function enterData(this: Context, token: MdastToken): void {
  this.config.enter.data?.call(this, token);
}

function exitData(this: Context, token: MdastToken): void {
  this.config.exit.data?.call(this, token);
}
