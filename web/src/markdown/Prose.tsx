/**
 * A piece of Markdown as elements. Reads it with remark; what remark cannot know (formulas, code, links, images) has
 * components of its own. There is no way from the text to HTML: raw HTML is text.
 */
import type { Element, Root as HtmlRoot } from "hast";
import type { FootnoteDefinition, FootnoteReference, List, Root } from "mdast";
import { memo, type ReactNode } from "react";
import ReactMarkdown, { type Components, type Options } from "react-markdown";
import remarkCjkFriendly from "remark-cjk-friendly";
import remarkGfm from "remark-gfm";
import type {} from "remark-parse";
import type { PluggableList, Processor } from "unified";
import { useWords } from "../app/words";
import { remarkAutolinkEnds } from "./autolinks";
import type { Block } from "./blocks";
import { CodeBlock } from "./CodeBlock";
import { DEFINED_ELSEWHERE } from "./document";
import { Formula } from "./Formula";
import { FootnoteNote, FootnoteReferenceButton } from "./footnotes";
import { remarkHarmless } from "./harmless";
import { Image, Link, textOf } from "./links";
import { FORMULA, remarkFormulas } from "./mathSyntax";
import { words } from "./words";

const NOTE = "x-footnote";
const REFERENCE = "x-footnote-reference";

interface ProseProps {
  text: string;
  part?: Block["part"];
  /** The number of the first item of a list. */
  number?: number | undefined;
}

export const Prose = memo(function Prose({ text, part, number }: ProseProps) {
  return (
    <ReactMarkdown
      remarkPlugins={pluginsFor(part, number)}
      rehypePlugins={part === undefined ? htmlPlugins : partPlugins}
      remarkRehypeOptions={toHtml}
      components={components}
      urlTransform={untouched}
    >
      {text}
    </ReactMarkdown>
  );
});

const plugins: PluggableList = [
  [remarkGfm, { singleTilde: false }],
  remarkAutolinkEnds,
  remarkCjkFriendly,
  remarkFormulas,
  remarkHarmless,
];
const inlinePlugins: PluggableList = [...plugins, remarkOnlyParagraph];
const htmlPlugins: PluggableList = [rehypeDirection];
const partPlugins: PluggableList = [rehypeDirection, rehypePart];

function pluginsFor(part: Block["part"], number: number | undefined): PluggableList {
  if (part === "paragraph") return inlinePlugins;
  return number === undefined ? plugins : [...plugins, [remarkListStart, number]];
}

/** Reads the text as one paragraph, whatever its lines look like. */
function remarkOnlyParagraph(this: Processor): void {
  const data = this.data();
  data.micromarkExtensions ??= [];
  data.micromarkExtensions.push({
    disable: {
      null: [
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
      ],
    },
  });
}

function remarkListStart(number: number): (tree: Root) => void {
  return ({ children }) => {
    const list = children.find((node): node is List => node.type === "list");
    if (list) list.start = number;
  };
}

/** Each block runs in the direction of its own first letter. */
function rehypeDirection(): (tree: HtmlRoot) => void {
  return ({ children }) => {
    for (const node of children) {
      if (node.type === "element" && node.tagName !== "pre") node.properties.dir = "auto";
    }
  };
}

/** Marks a block as a further part of the one before. */
function rehypePart(): (tree: HtmlRoot) => void {
  return ({ children }) => {
    const first = children.find((node): node is Element => node.type === "element");
    if (first) first.properties.className = ["further-part"];
  };
}

const toHtml: NonNullable<Options["remarkRehypeOptions"]> = {
  handlers: {
    footnoteReference: (_: unknown, { label, identifier }: FootnoteReference): Element => ({
      type: "element",
      tagName: REFERENCE,
      properties: {},
      children: [{ type: "text", value: label ?? identifier }],
    }),
    footnoteDefinition: (
      state: { all: (node: FootnoteDefinition) => Element["children"] },
      node: FootnoteDefinition,
    ) => {
      const children = state.all(node);
      const isStub = children.map(textOf).join("").trim() === DEFINED_ELSEWHERE;
      if (isStub) return undefined;
      return {
        type: "element",
        tagName: NOTE,
        properties: { label: node.label ?? node.identifier },
        children,
      };
    },
  },
};

/** Link and Image decide themselves which addresses they use. */
const untouched = (url: string): string => url;

interface ElementProps {
  node?: Element | undefined;
  children?: ReactNode;
}

const components = {
  a: Link,
  img: Image,
  pre: Pre,
  table: Table,
  input: TaskBox,
  [FORMULA]: FormulaElement,
  [REFERENCE]: FootnoteReferenceElement,
  [NOTE]: FootnoteNote,
} as Components;

/** A code block inside a list or quote, or an indented one. */
function Pre({ node }: ElementProps) {
  const code = node?.children[0];
  if (code?.type !== "element") return null;
  const classes = code.properties.className;
  const language = Array.isArray(classes) ? String(classes[0] ?? "").replace(/^language-/, "") : "";
  return <CodeBlock code={textOf(code).replace(/\n$/, "")} language={language} closed />;
}

function Table({ children }: ElementProps) {
  const { table } = useWords(words);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <section className="table-box" aria-label={table} tabIndex={0}>
      <table>{children}</table>
    </section>
  );
}

function TaskBox({ checked }: { checked?: boolean | undefined }) {
  const { done, toDo } = useWords(words);
  return (
    <input type="checkbox" checked={checked === true} disabled readOnly aria-label={checked ? done : toDo} />
  );
}

function FormulaElement({ node }: ElementProps) {
  if (!node) return null;
  return (
    <Formula
      tex={textOf(node)}
      display={node.properties.display === "true"}
      closed={node.properties.closed === "true"}
    />
  );
}

function FootnoteReferenceElement({ node }: ElementProps) {
  return node ? <FootnoteReferenceButton label={textOf(node)} /> : null;
}
