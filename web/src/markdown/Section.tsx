/**
 * A section of an answer: some blocks. One that may wait is a space of about its height until it comes near the view
 * or the page has time; one out of view is not laid out.
 */
import { type CSSProperties, memo, type RefObject, useEffect, useRef, useState } from "react";
import type { Block } from "./blocks";
import { CodeBlock } from "./CodeBlock";
import type { MarkdownDocument, Section } from "./document";
import { fencedCode } from "./fences";
import { LaterProse } from "./LaterProse";
import { later, mayDrawAtOnce, soon } from "./slices";
import { completed } from "./tail";

interface SectionViewProps {
  section: Section;
  document: MarkdownDocument;
  /** The definitions that its blocks use, so that it is drawn again when one comes. */
  definitions: string;
  /** The section is the one that still grows. */
  growing: boolean;
}

export const SectionView = memo(
  function SectionView({ section, document, growing }: SectionViewProps) {
    const element = useRef<HTMLDivElement>(null);
    const drawn = useDrawn(element, section.size, growing);
    const style = growing ? undefined : estimate(section);
    if (!drawn) return <div className="section" ref={element} data-waits="" style={style} />;
    return (
      <div className="section" ref={element} style={style}>
        {section.blocks.map((block, at) => (
          <BlockView
            key={block.at}
            block={block}
            definitions={document.definitionsFor(block.text)}
            growing={growing && at === section.blocks.length - 1}
          />
        ))}
      </div>
    );
  },
  (before, after) =>
    before.growing === after.growing &&
    before.definitions === after.definitions &&
    before.document === after.document &&
    sameBlocks(before.section.blocks, after.section.blocks),
);

interface BlockViewProps {
  block: Block;
  definitions: string;
  growing: boolean;
}

const BlockView = memo(
  function BlockView({ block, definitions, growing }: BlockViewProps) {
    if (block.kind === "code") {
      const { code, language } = fencedCode(block, growing);
      return <CodeBlock code={code} language={language} closed={block.closed || !growing} />;
    }
    const text = growing ? completed(block.text) : block.text;
    return <LaterProse text={definitions + block.head + text} part={block.part} number={block.number} />;
  },
  (before, after) =>
    before.growing === after.growing &&
    before.definitions === after.definitions &&
    sameBlock(before.block, after.block),
);

function sameBlocks(before: readonly Block[], after: readonly Block[]): boolean {
  return (
    before === after ||
    (before.length === after.length && before.every((block, at) => sameBlock(block, after[at] as Block)))
  );
}

function sameBlock(before: Block, after: Block): boolean {
  return (
    before === after ||
    (before.at === after.at &&
      before.kind === after.kind &&
      before.closed === after.closed &&
      before.part === after.part &&
      before.number === after.number &&
      before.text === after.text)
  );
}

/** How far from the view a section is drawn without waiting for a quiet moment. */
const NEAR_PX = 1200;

/** Whether the section is drawn yet. Once drawn it stays so. */
function useDrawn(element: RefObject<HTMLDivElement | null>, size: number, growing: boolean): boolean {
  const [drawn, setDrawn] = useState(() => growing || mayDrawAtOnce(size));

  useEffect(() => {
    const { current } = element;
    if (drawn || !current) return;
    const draw = () => setDrawn(true);
    const takeBack = later(draw);
    let takeBackSoon = () => {};
    const observer = new IntersectionObserver(
      (entries) => {
        if (entries.some(({ isIntersecting }) => isIntersecting)) takeBackSoon = soon(draw);
      },
      { rootMargin: `${NEAR_PX}px`, scrollMargin: `${NEAR_PX}px` } as IntersectionObserverInit,
    );
    observer.observe(current);
    return () => {
      takeBack();
      takeBackSoon();
      observer.disconnect();
    };
  }, [drawn, element]);

  return drawn || growing;
}

/** About how many columns and lines a section fills in the style sheet's count of columns: the space it takes while out of view. */
function estimate({ blocks }: Section): CSSProperties {
  let codeLines = 0;
  let textColumns = 0;
  for (const { kind, text } of blocks) {
    if (kind === "code") codeLines += text.split("\n").length;
    // Chinese letters take about two columns, and three bytes.
    else textColumns += text.length + (text.match(/[\u2e80-\uffdc]/g)?.length ?? 0);
  }
  return {
    "--section-columns": textColumns,
    "--section-lines": codeLines,
    "--section-blocks": blocks.length,
  } as CSSProperties;
}
