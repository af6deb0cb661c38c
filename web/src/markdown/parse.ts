/**
 * Reads Markdown: GitHub's, with formulas, and with emphasis and addresses that know Chinese. There is no way from the
 * text to HTML: raw HTML is text in the tree. The extensions are combined once, because blocks are small and many.
 */
import type { List, Nodes, Root } from "mdast";
import { fromMarkdown, type Options } from "mdast-util-from-markdown";
import { gfmFromMarkdown } from "mdast-util-gfm";
import { cjkFriendlyExtension } from "micromark-extension-cjk-friendly";
import { gfm } from "micromark-extension-gfm";
import { combineExtensions } from "micromark-util-combine-extensions";
import { cutAutolinks, withAutolinkEnds } from "./autolinks";
import type { Block } from "./blocks";
import { replaceHtml } from "./harmless";
import { formulaNodes, formulaSyntax } from "./mathSyntax";

// One tilde is a range in Chinese, "20~25", and never strikes out.
const syntax = combineExtensions([
  withAutolinkEnds(gfm({ singleTilde: false })),
  cjkFriendlyExtension(),
  formulaSyntax,
]);
const blockNames = [
  "blockQuote",
  "codeFenced",
  "codeIndented",
  "definition",
  "formulaFlow",
  "gfmFootnoteDefinition",
  "headingAtx",
  "htmlFlow",
  "list",
  "setextUnderline",
  "table",
  "thematicBreak",
];
const mdastExtensions = [gfmFromMarkdown(), formulaNodes];
const options: Options = { extensions: [syntax], mdastExtensions };
/** Reads the text as one paragraph, whatever its lines look like. */
const inlineOptions: Options = {
  extensions: [syntax, { disable: { null: blockNames } }],
  mdastExtensions,
};

/**
 * Quotes and lists inside of each other on one line, deeper than anybody writes. A model that repeats itself writes thousands:
 * reading them takes seconds, and drawing them overflows the stack.
 */
const TOO_DEEP = /^(?:[ \t]*(?:>|(?:[-+*]|\d{1,9}[.)])(?=[ \t]))){33}/m;

/** Whether a block is to be shown as it was written. */
export const isTooDeep = (text: string): boolean => TOO_DEEP.test(text);

/** Reads a block. `number` is that of the first item, for a further part of a numbered list. */
export function parse(text: string, part: Block["part"], number: number | undefined): Root {
  const tree = fromMarkdown(text, part === "paragraph" ? inlineOptions : options);
  cutAutolinks(tree.children);
  replaceHtml(tree);
  if (number !== undefined) startListAt(tree, number);
  return tree;
}

function startListAt({ children }: Root, number: number): void {
  const list = children.find((node): node is List => node.type === "list");
  if (list) list.start = number;
}

/** The text in nodes, without its marks. */
export function textOf(nodes: readonly Nodes[]): string {
  return nodes
    .map((node) => {
      if ("children" in node) return textOf(node.children);
      return "value" in node ? node.value : "";
    })
    .join("");
}
