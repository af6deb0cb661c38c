/**
 * A section of an answer: some blocks. One that may wait is a space of about its height until it comes near the view
 * or the page has time.
 */
import { memo, useEffect, useState } from "react";
import type { Block } from "./blocks";
import { CodeBlock } from "./CodeBlock";
import type { MarkdownDocument, Section } from "./document";
import { estimate } from "./estimate";
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
  /** The section is in view, or near it. */
  near: boolean;
  /** Has somebody look whether it is near, until the returned function is called. */
  wait: () => () => void;
}

export const SectionView = memo(
  function SectionView({ section, document, growing, near, wait }: SectionViewProps) {
    const drawn = useDrawn(section, growing, near, wait);
    if (!drawn)
      return <div className="section" data-waits="" style={{ blockSize: estimate(section.blocks) }} />;
    return (
      <div className="section">
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
    before.near === after.near &&
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

/** What comes later in a text is never drawn at once. */
const BEGINNING = 2048;

/** Whether the section is drawn yet. Once drawn it stays so. */
function useDrawn(
  { at, size }: Section,
  growing: boolean,
  near: boolean,
  wait: SectionViewProps["wait"],
): boolean {
  const [drawn, setDrawn] = useState(() => growing || (at < BEGINNING && mayDrawAtOnce(size)));

  useEffect(() => (drawn ? undefined : wait()), [drawn, wait]);

  useEffect(() => {
    if (drawn) return;
    const inTime = near ? soon : later;
    return inTime(() => setDrawn(true));
  }, [drawn, near]);

  return drawn || growing;
}
