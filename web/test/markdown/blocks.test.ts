import { describe, expect, it } from "vitest";
import { type Block, BlockSplitter } from "../../src/markdown/blocks";
import { randomDocument, randomFrom } from "./documents";

const split = (text: string): Block[] => {
  const splitter = new BlockSplitter();
  const tail = splitter.update(text);
  return [...splitter.closed, ...tail];
};
const texts = (text: string): string[] => split(text).map((block) => block.text);

describe("the blocks of a text", () => {
  it("are the text, byte for byte, whatever the text", () => {
    for (let seed = 0; seed < 500; seed += 1) {
      const text = randomDocument(randomFrom(seed));
      expect(texts(text).join("")).toBe(text);
    }
  });

  it("are the same however the text arrived", () => {
    for (let seed = 0; seed < 300; seed += 1) {
      const random = randomFrom(seed);
      const text = randomDocument(random);
      const splitter = new BlockSplitter();
      let tail: Block[] = [];
      for (let end = 0; end < text.length; ) {
        end = Math.min(text.length, end + 1 + Math.floor(random() * 7));
        tail = splitter.update(text.slice(0, end));
      }
      expect([...splitter.closed, ...tail]).toEqual(split(text));
    }
  });

  it("never change once they are over", () => {
    for (let seed = 0; seed < 60; seed += 1) {
      const text = randomDocument(randomFrom(seed));
      const splitter = new BlockSplitter();
      const seen: Block[] = [];
      for (let end = 1; end <= text.length; end += 1) {
        splitter.update(text.slice(0, end));
        expect(splitter.closed.slice(0, seen.length).every((block, at) => block === seen[at])).toBe(true);
        seen.push(...splitter.closed.slice(seen.length));
      }
    }
  });

  it("begin anew for a text that does not continue the last one", () => {
    const splitter = new BlockSplitter();
    splitter.update("# One\n\nTwo\n\nThree");
    const tail = splitter.update("Other\n\ntext");
    expect([...splitter.closed, ...tail]).toEqual(split("Other\n\ntext"));
  });

  it.each<[string, string, string[]]>([
    ["paragraphs", "a\nb\n\n\nc", ["a\nb\n\n\n", "c"]],
    ["a heading without blank lines", "a\n# b\nc", ["a\n", "# b\n", "c"]],
    ["a fence with blank lines", "a\n```\n\n# b\n\n```\nc", ["a\n", "```\n\n# b\n\n```\n", "c"]],
    ["a longer fence around a fence", "````\n```\n\nx\n```\n````\ny", ["````\n```\n\nx\n```\n````\n", "y"]],
    ["a fence of tildes", "~~~\n```\n~~~\n\nx", ["~~~\n```\n~~~\n\n", "x"]],
    ["an indented fence", "   ```\n\n   a\n   ```\nb", ["   ```\n\n   a\n   ```\n", "b"]],
    ["a list with loose items", "- a\n\n- b\n\n  c\n\nd", ["- a\n\n- b\n\n  c\n\n", "d"]],
    [
      "a list with a fence",
      "1. a\n\n   ```\n   b\n\n   c\n   ```\n2. d\n\ne",
      ["1. a\n\n   ```\n   b\n\n   c\n   ```\n2. d\n\n", "e"],
    ],
    ["lists of different markers", "- a\n\n* b", ["- a\n\n", "* b"]],
    ["a list after its introduction", "Here:\n- a\n\n  b", ["Here:\n", "- a\n\n  b"]],
    ["a number that begins no list", "In\n2019. It\n\n   was", ["In\n2019. It\n\n", "   was"]],
    ["a quote with a lazy line", "> a\nb\n\n> c", ["> a\nb\n\n", "> c"]],
    ["a table", "| a |\n| - |\n| b |\n\nc", ["| a |\n| - |\n| b |\n\n", "c"]],
    ["a formula with blank lines", "$$\na\n\nb\n$$\nc", ["$$\na\n\nb\n$$\n", "c"]],
    ["a formula in brackets", "a\n\\[\n- x\n\\]\nb", ["a\n", "\\[\n- x\n\\]\n", "b"]],
    ["a formula on one line", "a\n$$ x $$\nb", ["a\n", "$$ x $$\n", "b"]],
    ["a formula that a blank line ends", "$$ x\n\nb", ["$$ x\n\n", "b"]],
    ["a footnote of two paragraphs", "[^1]: a\n\n    b\n\nc", ["[^1]: a\n\n    b\n\n", "c"]],
    ["indented code", "    a\n\n    b\n\nc", ["    a\n\n    b\n\n", "c"]],
    ["an underlined heading", "a\n---\n\nb", ["a\n---\n\n", "b"]],
    ["blank lines at the start", "\n\n  \na\n\nb", ["\n\n  \na\n\n", "b"]],
    ["lines that end in CR LF", "a\r\n\r\n```\r\nb\r\n```\r\nc", ["a\r\n\r\n", "```\r\nb\r\n```\r\n", "c"]],
  ])("tell %s", (_, text, expected) => {
    expect(texts(text)).toEqual(expected);
  });
});

describe("a block that is very long", () => {
  const sizes = (text: string): number[] => texts(text).map(({ length }) => length);

  it.each([
    ["a line of words", "word ".repeat(50_000)],
    ["a line without spaces", "x".repeat(200_000)],
    ["a line of emoji", "😀".repeat(100_000)],
    ["a paragraph of lines", "some words\n".repeat(20_000)],
    ["a list", "- an item of the list\n".repeat(10_000)],
    ["a list of one item", `- ${"word ".repeat(40_000)}`],
    ["a table", `| a | b |\n| - | - |\n${"| some | cells |\n".repeat(10_000)}`],
    ["a quote", "> some words\n>\n".repeat(10_000)],
    ["a quote in one line", `> ${"word ".repeat(40_000)}`],
    ["a formula", `$$\n${"x + y\n".repeat(40_000)}`],
  ])("is cut into parts: %s", (_, text) => {
    expect(texts(text).join("")).toBe(text);
    expect(Math.max(...sizes(text))).toBeLessThan(20_000);
  });

  it("is not cut when it is code, which needs no reading", () => {
    expect(sizes(`\`\`\`\n${"let x;\n".repeat(100_000)}`)).toEqual([700_004]);
  });

  it("goes on counting in the parts of a numbered list", () => {
    const text = Array.from({ length: 1000 }, (_, at) => `${at + 3}. item\n`).join("");
    const parts = split(text).slice(1);
    expect(parts.map(({ part, number }) => ({ part, number }))).toEqual(
      parts.map(({ text }) => ({ part: "list", number: Number.parseInt(text, 10) })),
    );
    expect(parts.length).toBeGreaterThan(1);
  });

  it("repeats the head of a table in each part", () => {
    const head = "| a | b |\n| - | - |\n";
    const parts = split(`${head}${"| some | cells |\n".repeat(1000)}`).slice(1);
    expect(new Set(parts.map((block) => block.head))).toEqual(new Set([head]));
  });

  it("does not split a pair of surrogates", () => {
    for (const block of texts(`a${"😀".repeat(50_000)}`))
      expect(() => encodeURIComponent(block)).not.toThrow();
  });
});
