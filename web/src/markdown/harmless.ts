/**
 * Raw HTML in Markdown is shown as text. The exceptions are a few tags that only shape text, when they are paired and
 * have no attributes: `<br>`, and `H<sub>2</sub>O`. No HTML is ever parsed.
 */
import type { Html, Parents, RootContent } from "mdast";

declare module "mdast" {
  interface ParagraphData {
    /** The paragraph is the source of raw HTML. */
    isSource?: boolean;
  }
  interface EmphasisData {
    /** The harmless tag that the element has. */
    tag?: string;
  }
}

const PAIRED = new Set([
  "sub",
  "sup",
  "kbd",
  "mark",
  "u",
  "b",
  "strong",
  "i",
  "em",
  "s",
  "del",
  "ins",
  "small",
]);
const PHRASES = new Set([
  "paragraph",
  "heading",
  "tableCell",
  "emphasis",
  "strong",
  "delete",
  "link",
  "linkReference",
]);

/** Replaces every node of raw HTML in the tree. */
export function replaceHtml(parent: Parents): void {
  const children = parent.children as RootContent[];
  const phrases = PHRASES.has(parent.type);
  for (let at = 0; at < children.length; at += 1) {
    const child = children[at] as RootContent;
    if (child.type === "html") {
      if (phrases) replacePhrase(children, at, child);
      else children[at] = source(child.value);
    }
    const shown = children[at] as RootContent;
    if ("children" in shown) replaceHtml(shown);
  }
}

function replacePhrase(children: RootContent[], at: number, { value }: Html): void {
  if (/^<br\s*\/?>$/i.test(value)) {
    children[at] = { type: "break" };
    return;
  }
  const tag = /^<([a-z]+)>$/i.exec(value)?.[1]?.toLowerCase() ?? "";
  const end = PAIRED.has(tag) ? closingTag(children, at, tag) : -1;
  if (end < 0) {
    children[at] = { type: "text", value };
    return;
  }
  const inner = children.slice(at + 1, end);
  const node = { type: "emphasis", data: { tag }, children: inner } as RootContent;
  children.splice(at, end - at + 1, node);
}

function closingTag(children: RootContent[], from: number, tag: string): number {
  const closing = `</${tag}>`;
  return children.findIndex(
    (node, at) => at > from && node.type === "html" && node.value.toLowerCase() === closing,
  );
}

/** A block of HTML as its source. */
function source(value: string): RootContent {
  return {
    type: "paragraph",
    data: { isSource: true },
    children: [{ type: "text", value }],
  };
}
