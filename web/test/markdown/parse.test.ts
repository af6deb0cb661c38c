import type { Nodes } from "mdast";
import { describe, expect, it } from "vitest";
import { DEFINED_ELSEWHERE, MarkdownDocument } from "../../src/markdown/document";
import { parse, textOf } from "../../src/markdown/parse";
import { randomDocument, randomFrom } from "./documents";

/** The tree without positions, and without footnotes that only say that they are defined elsewhere. */
function plain(nodes: readonly Nodes[]): unknown[] {
  return nodes
    .filter((node) => node.type !== "footnoteDefinition" || textOf(node.children) !== DEFINED_ELSEWHERE)
    .filter(({ type }) => type !== "definition")
    .map((node) => {
      const { position: _, ...rest } = node;
      return "children" in rest ? { ...rest, children: plain(rest.children) } : rest;
    });
}

describe("the blocks of a document", () => {
  it("read one by one are the document read as a whole", () => {
    let compared = 0;
    for (let seed = 0; seed < 150; seed += 1) {
      const text = randomDocument(randomFrom(seed));
      // A blank line ends raw HTML here, on purpose.
      if (/<details>|<!--/.test(text)) continue;
      const document = new MarkdownDocument();
      const blocks = document.read(text).flatMap(({ sections }) => sections.flatMap(({ blocks }) => blocks));
      const read = blocks.flatMap(
        (block) => parse(document.definitionsFor(block.text) + block.text, undefined, undefined).children,
      );
      expect({ text, tree: plain(read) }).toEqual({
        text,
        tree: plain(parse(text, undefined, undefined).children),
      });
      compared += 1;
    }
    expect(compared).toBeGreaterThan(80);
  }, 60_000);
});
