/** The space that blocks take while they are not drawn or not laid out. */
import type { Block } from "./blocks";

/**
 * About how high the blocks are, as a CSS length; the style sheet knows how wide a line is. It is set as a size, not as a
 * custom property: a change of one has the browser style everything inside again.
 */
export function estimate(blocks: readonly Block[]): string {
  let codeLines = 0;
  let textColumns = 0;
  for (const { kind, text } of blocks) {
    if (kind === "code") codeLines += text.split("\n").length;
    // Chinese letters take about two columns, and three bytes.
    else textColumns += text.length + (text.match(/[\u2e80-\uffdc]/g)?.length ?? 0);
  }
  return `calc((${textColumns} / var(--columns) + ${blocks.length}) * 1.65em + ${codeLines} * 1.36em)`;
}
