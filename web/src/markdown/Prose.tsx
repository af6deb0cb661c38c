/**
 * A piece of Markdown as elements, straight from its tree: there is no way to HTML, and no element, attribute or
 * address that is not named here, in links.tsx or in Formula.tsx.
 */
import type { AlignType, Definition, List, ListItem, Nodes, Root, Table } from "mdast";
import { createElement, type Key, memo, type ReactNode } from "react";
import { useWords } from "../app/words";
import { CodeBlock } from "./CodeBlock";
import { DEFINED_ELSEWHERE } from "./document";
import { Formula } from "./Formula";
import { FootnoteNote, FootnoteReferenceButton } from "./footnotes";
import { type ProseProps, provideProse } from "./LaterProse";
import { Image, Link } from "./links";
import { isTooDeep, parse, textOf } from "./parse";
import { later } from "./slices";
import { AsWritten } from "./Unbroken";
import { words } from "./words";

export const Prose = memo(function Prose({ text, part, number }: ProseProps) {
  if (isTooDeep(text)) return <AsWritten text={text} />;
  const root = parse(text, part, number);
  const definitions = definitionsIn(root);
  const first = root.children.findIndex(({ type }) => type !== "definition");
  const keys = keysOf(root.children);
  return root.children.map((node, at) => {
    const className = part !== undefined && at === first ? "further-part" : undefined;
    return draw(node, { definitions, key: keys[at] ?? at, dir: "auto", className });
  });
});

interface Place {
  definitions: ReadonlyMap<string, Definition>;
  key: Key;
  /** Each block runs in the direction of its own first letter. */
  dir?: "auto" | undefined;
  className?: string | undefined;
}

function definitionsIn({ children }: Root): Map<string, Definition> {
  const found = new Map<string, Definition>();
  for (const node of children) {
    if (node.type === "definition" && !found.has(node.identifier)) found.set(node.identifier, node);
  }
  return found;
}

function drawAll(nodes: readonly Nodes[], { definitions }: Place): ReactNode[] {
  const keys = keysOf(nodes);
  return nodes.map((node, at) => draw(node, { definitions, key: keys[at] ?? at }));
}

/** Numbered by kind, so that a node of another kind that comes before an element does not make it anew. */
function keysOf(nodes: readonly Nodes[]): string[] {
  const counts = new Map<string, number>();
  return nodes.map(({ type }) => {
    const count = counts.get(type) ?? 0;
    counts.set(type, count + 1);
    return `${type}-${count}`;
  });
}

function draw(node: Nodes, place: Place): ReactNode {
  const { key, dir, className } = place;
  const block = { key, dir, className };
  switch (node.type) {
    case "text":
      return node.value;
    case "paragraph":
      if (node.data?.isSource) block.className = "html-source";
      return createElement("p", block, drawAll(node.children, place));
    case "heading":
      return createElement(`h${node.depth}`, block, drawAll(node.children, place));
    case "list":
      return drawList(node, place);
    case "blockquote":
      return createElement("blockquote", block, drawAll(node.children, place));
    case "table":
      return drawTable(node, place);
    case "thematicBreak":
      return <hr key={key} />;
    case "code":
      return <CodeBlock key={key} code={node.value} language={node.lang ?? ""} closed />;
    case "formula":
      return <Formula key={key} tex={node.value} display={node.display} closed={node.closed} />;
    case "footnoteDefinition":
      if (textOf(node.children).trim() === DEFINED_ELSEWHERE) return null;
      return (
        <FootnoteNote key={key} label={node.label ?? node.identifier} dir={dir}>
          {drawAll(node.children, place)}
        </FootnoteNote>
      );
    default:
      return drawPhrase(node, place);
  }
}

function drawPhrase(node: Nodes, place: Place): ReactNode {
  const { key, definitions } = place;
  switch (node.type) {
    case "emphasis":
      return createElement(node.data?.tag ?? "em", { key }, drawAll(node.children, place));
    case "strong":
      return <strong key={key}>{drawAll(node.children, place)}</strong>;
    case "delete":
      return <del key={key}>{drawAll(node.children, place)}</del>;
    case "inlineCode":
      return <code key={key}>{node.value.replaceAll(/\r?\n/g, " ")}</code>;
    case "break":
      return <br key={key} />;
    case "link":
    case "linkReference": {
      const href = node.type === "link" ? node.url : definitions.get(node.identifier)?.url;
      return (
        <Link key={key} href={href ?? ""} text={textOf(node.children)}>
          {drawAll(node.children, place)}
        </Link>
      );
    }
    case "image":
      return <Image key={key} src={node.url} alt={node.alt ?? ""} />;
    case "imageReference":
      return <Image key={key} src={definitions.get(node.identifier)?.url ?? ""} alt={node.alt ?? ""} />;
    case "footnoteReference":
      return <FootnoteReferenceButton key={key} label={node.label ?? node.identifier} />;
    case "html":
      return node.value;
    default:
      return null;
  }
}

function drawList(list: List, place: Place): ReactNode {
  const { key, dir, className } = place;
  const loose = list.spread === true || list.children.some(({ spread }) => spread === true);
  const items = list.children.map((item, at) => (
    // biome-ignore lint/suspicious/noArrayIndexKey: a list of a text has no other names for its items
    <li key={at} className={typeof item.checked === "boolean" ? "task-list-item" : undefined}>
      {drawItem(item, loose, place)}
    </li>
  ));
  if (!list.ordered) return createElement("ul", { key, dir, className }, items);
  const start = list.start === 1 ? undefined : (list.start ?? undefined);
  return createElement("ol", { key, dir, className, start }, items);
}

/** The text of an item is a paragraph only in a list whose items stand apart. */
function drawItem({ checked, children }: ListItem, loose: boolean, place: Place): ReactNode {
  const box = typeof checked === "boolean" ? <TaskBox key="box" checked={checked} /> : null;
  const [first] = children;
  if (first?.type !== "paragraph") return [box, ...drawAll(children, place)];
  return children.map((child, key) => {
    if (child.type !== "paragraph")
      return draw(child, { ...place, key, dir: undefined, className: undefined });
    const phrases = drawAll(child.children, place);
    const text = key === 0 ? [box, ...phrases] : phrases;
    // biome-ignore lint/suspicious/noArrayIndexKey: the blocks of a text have no other names
    return loose ? <p key={key}>{text}</p> : text;
  });
}

function drawTable({ children, align }: Table, place: Place): ReactNode {
  const [head, ...body] = children;
  const rowOf = (row: Table["children"][number] | undefined, name: "th" | "td", key: Key) => (
    <tr key={key}>
      {row?.children.map((cell, at) =>
        createElement(name, { key: at, style: aligned(align?.[at]) }, drawAll(cell.children, place)),
      )}
    </tr>
  );
  return (
    <TableBox key={place.key} dir={place.dir} className={place.className}>
      <thead>{rowOf(head, "th", 0)}</thead>
      {body.length > 0 && <tbody>{body.map((row, at) => rowOf(row, "td", at))}</tbody>}
    </TableBox>
  );
}

function aligned(align: AlignType | undefined) {
  return align === null || align === undefined ? undefined : { textAlign: align };
}

interface TableBoxProps {
  dir: "auto" | undefined;
  className: string | undefined;
  children: ReactNode;
}

function TableBox({ dir, className = "", children }: TableBoxProps) {
  const { table } = useWords(words);
  return (
    // A landmark for each table would be one of many with the same name.
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard
    <div className={`table-box ${className}`} role="group" aria-label={table} tabIndex={0} dir={dir}>
      <table>{children}</table>
    </div>
  );
}

function TaskBox({ checked }: { checked: boolean }) {
  const { done, toDo } = useWords(words);
  return <input type="checkbox" checked={checked} disabled readOnly aria-label={checked ? done : toDo} />;
}

provideProse(Prose);

const SAMPLE =
  "# A *heading* with `code`\n\n- an item, https://example.com\n\n| a | b |\n|---|--:|\n| 1 | $x$ |\n";
const WARM_UP = 32;

// The browser compiles the parser while it reads its first texts. It does so while nobody waits for it.
for (let n = 0; n < WARM_UP; n += 1) later(() => parse(SAMPLE, undefined, undefined));
