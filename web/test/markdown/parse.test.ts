import type { ElementContent, RootContent } from "hast";
import { describe, expect, it } from "vitest";
import { MarkdownDocument } from "../../src/markdown/document";
import { parse } from "../../src/markdown/parse";
import { randomDocument, randomFrom } from "./documents";

/** The tree without positions and white space between blocks. */
function plain(nodes: readonly (RootContent | ElementContent)[]): unknown[] {
  return nodes.flatMap((node): unknown[] => {
    if (node.type === "element")
      return [{ name: node.tagName, properties: node.properties, children: plain(node.children) }];
    return node.type === "text" && node.value.trim() !== "" ? [node.value] : [];
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
      const blocks = document.read(text).flatMap((section) => section.blocks);
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
