/**
 * An answer's text, cut at line ends into blocks that no longer change, so that each frame of a long stream
 * lays out the last block only.
 */
import { memo } from "react";

const MIN_BLOCK_CHARS = 2_000;

export function AnswerText({ answer }: { answer: string }) {
  return (
    <div className="answer">
      {blocksOf(answer).map(({ start, text }) => (
        <Block key={start} text={text} />
      ))}
    </div>
  );
}

const Block = memo(function Block({ text }: { text: string }) {
  return (
    <div className="block" dir="auto">
      {text}
    </div>
  );
});

/** Joined, the blocks are the answer; all but the last end with a line end and are final. */
export function blocksOf(answer: string): { start: number; text: string }[] {
  const blocks = [];
  let start = 0;
  while (start < answer.length) {
    const lineEnd = answer.indexOf("\n", start + MIN_BLOCK_CHARS);
    const next = lineEnd === -1 ? answer.length : lineEnd + 1;
    blocks.push({ start, text: answer.slice(start, next) });
    start = next;
  }
  return blocks;
}
