/**
 * Reads Markdown: GitHub's, with formulas, and with emphasis and addresses that know Chinese. There is no way from the
 * text to HTML: raw HTML is text in the tree. The extensions are combined once, because blocks are small and many.
 */
import type { Element, ElementContent, Root as HtmlRoot } from "hast";
import type { FootnoteDefinition, FootnoteReference, List, Root } from "mdast";
import { fromMarkdown, type Options } from "mdast-util-from-markdown";
import { gfmFromMarkdown } from "mdast-util-gfm";
import { type State, toHast } from "mdast-util-to-hast";
import { cjkFriendlyExtension } from "micromark-extension-cjk-friendly";
import { gfm } from "micromark-extension-gfm";
import { combineExtensions } from "micromark-util-combine-extensions";
import { cutAutolinks, withAutolinkEnds } from "./autolinks";
import type { Block } from "./blocks";
import { DEFINED_ELSEWHERE } from "./document";
import { replaceHtml } from "./harmless";
import { textOf } from "./links";
import { formulaNodes, formulaSyntax } from "./mathSyntax";

/** The elements that footnotes become. */
export const FOOTNOTE = "x-footnote";
export const FOOTNOTE_REFERENCE = "x-footnote-reference";

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

/** Reads a block. A further part of a block is marked as such; `number` is that of its first item. */
export function parse(text: string, part: Block["part"], number: number | undefined): HtmlRoot {
  const tree = fromMarkdown(text, part === "paragraph" ? inlineOptions : options);
  cutAutolinks(tree.children);
  replaceHtml(tree);
  if (number !== undefined) startListAt(tree, number);
  const html = toHast(tree, { handlers });
  const root: HtmlRoot = html.type === "root" ? html : { type: "root", children: [] };
  shapeBlocks(root, part);
  return root;
}

function startListAt({ children }: Root, number: number): void {
  const list = children.find((node): node is List => node.type === "list");
  if (list) list.start = number;
}

/** Each block runs in the direction of its own first letter. */
function shapeBlocks({ children }: HtmlRoot, part: Block["part"]): void {
  const blocks = children.filter((node): node is Element => node.type === "element");
  for (const block of blocks) {
    if (block.tagName !== "pre") block.properties.dir = "auto";
  }
  const [first] = blocks;
  if (part !== undefined && first) first.properties.className = ["further-part"];
}

const handlers = {
  footnoteReference(_state: State, { label, identifier }: FootnoteReference): Element {
    return element(FOOTNOTE_REFERENCE, {}, [{ type: "text", value: label ?? identifier }]);
  },
  footnoteDefinition(state: State, node: FootnoteDefinition): Element | undefined {
    const children = state.all(node);
    const isStub = children.map(textOf).join("").trim() === DEFINED_ELSEWHERE;
    return isStub ? undefined : element(FOOTNOTE, { label: node.label ?? node.identifier }, children);
  },
};

function element(tagName: string, properties: Element["properties"], children: ElementContent[]): Element {
  return { type: "element", tagName, properties, children };
}
