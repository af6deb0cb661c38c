/**
 * A piece of Markdown as elements. What the parser cannot draw (formulas, code, links, images) has components here.
 */
import type { Element } from "hast";
import { memo, type ReactNode } from "react";
import { useWords } from "../app/words";
import { CodeBlock } from "./CodeBlock";
import { drawElements, type ElementComponents } from "./elements";
import { Formula } from "./Formula";
import { FootnoteNote, FootnoteReferenceButton } from "./footnotes";
import { type ProseProps, provideProse } from "./LaterProse";
import { Image, Link, textOf } from "./links";
import { FORMULA } from "./mathSyntax";
import { FOOTNOTE, FOOTNOTE_REFERENCE, parse } from "./parse";
import { words } from "./words";

export const Prose = memo(function Prose({ text, part, number }: ProseProps) {
  return drawElements(parse(text, part, number), components);
});

interface ElementProps {
  node?: Element | undefined;
  children?: ReactNode;
}

const components: ElementComponents = {
  a: Link,
  img: Image,
  pre: Pre,
  table: Table,
  input: TaskBox,
  [FORMULA]: FormulaElement,
  [FOOTNOTE_REFERENCE]: FootnoteReferenceElement,
  [FOOTNOTE]: FootnoteNote,
};

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
    // A landmark for each table would be one of many with the same name.
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <div className="table-box" role="group" aria-label={table} tabIndex={0}>
      <table>{children}</table>
    </div>
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

provideProse(Prose);
