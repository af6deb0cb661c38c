/** Random Markdown with everything that models write, always the same for the same seed. */

export type Random = () => number;

/** Mulberry32: small, and good enough to choose what to write. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)] as T;
}

const INLINE = [
  "plain words here",
  "**bold**",
  "*it*",
  "`code`",
  "~~gone~~",
  "[link](https://example.com/a)",
  "[ref]",
  "[^1]",
  "**中文**后面的字",
  "逗号，句号。",
  "https://example.com/路径，后面",
  "$x^2$",
  "\\(a_1\\)",
  "costs $5 and $10",
  "![alt](https://example.com/i.png)",
  "<b>raw</b>",
  "half **open",
  "a | b",
  "مرحبا",
  "😀",
  "\\*escaped\\*",
  "a<br>b",
];

const BLOCKS: ((random: Random) => string)[] = [
  (r) => line(r),
  (r) => `${line(r)}\n${line(r)}`,
  (r) => `# ${line(r)}`,
  (r) => `${line(r)}\n---`,
  () => "***",
  (r) => `- ${line(r)}\n- ${line(r)}\n  - ${line(r)}`,
  (r) => `1. ${line(r)}\n2. ${line(r)}\n\n   ${line(r)}\n3. ${line(r)}`,
  (r) => `- ${line(r)}\n\n  \`\`\`js\n  let a = 1;\n\n  b\n  \`\`\`\n- ${line(r)}`,
  (r) => `- [ ] ${line(r)}\n- [x] ${line(r)}`,
  (r) => `> ${line(r)}\n> - ${line(r)}\n${line(r)}`,
  (r) => `| a | b |\n| - | :-: |\n| ${line(r)} | 1 |\n| 2 | 3 |`,
  () => "```python\ndef f():\n\n    return '# no heading'\n```",
  () => "~~~~\n```\nnested\n```\n~~~~",
  () => "   ```\n   indented\n   ```",
  () => "```\nnever closed\n\n# still code",
  () => "    indented code\n\n    more",
  () => "$$\na\n+ b\n\n= c\n$$",
  () => "\\[ x = y \\]",
  () => "\\[\nx\n- y\n\\]",
  () => "<details>\n<summary>s</summary>\n\ntext\n\n</details>",
  () => "<!-- a\n\nb -->",
  () => '[ref]: https://example.com/ref "title"',
  (r) => `[^1]: ${line(r)}\n\n    more of it`,
  (r) => `* ${line(r)}\n+ ${line(r)}\n10) ${line(r)}`,
  (r) => `${line(r)}\n2. ${line(r)}\n\n   ${line(r)}`,
  () => "",
  () => "   ",
  () => "\t tab",
];

function line(random: Random): string {
  return Array.from({ length: 1 + Math.floor(random() * 4) }, () => pick(random, INLINE)).join(" ");
}

/** A document of some blocks. Some follow each other without a blank line, and some lines end in CR LF. */
export function randomDocument(random: Random): string {
  const count = 1 + Math.floor(random() * 8);
  const blocks = Array.from({ length: count }, () => pick(random, BLOCKS)(random));
  const text = blocks.reduce((all, block) => all + pick(random, ["\n", "\n\n", "\n\n", "\n\n\n"]) + block);
  return random() < 0.1 ? text.replaceAll("\n", "\r\n") : text;
}
