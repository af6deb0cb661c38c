/** The space that blocks take while they are not drawn or not laid out. */
import type { CSSProperties } from "react";
import type { Block } from "./blocks";

/** About how many columns and lines the blocks fill; the style sheet knows how wide a line is. */
export function estimate(blocks: readonly Block[]): CSSProperties {
  let codeLines = 0;
  let textColumns = 0;
  for (const { kind, text } of blocks) {
    if (kind === "code") codeLines += text.split("\n").length;
    // Chinese letters take about two columns, and three bytes.
    else textColumns += text.length + (text.match(/[\u2e80-\uffdc]/g)?.length ?? 0);
  }
  return {
    "--text-columns": textColumns,
    "--code-lines": codeLines,
    "--blocks": blocks.length,
  } as CSSProperties;
}
