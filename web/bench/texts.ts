/** Long answers as a model writes them: the same ones in every run. */

const SECTION = `## The keeper's log, day {n}

The lamp was lit at **dusk** and burned until *dawn*. A ship passed at \`02:{n}\`, bound for [the harbour](https://example.com/{n}),
and the keeper wrote it down, as he does every night: wind, sea, and what he saw of the sky. 灯塔在**黄昏**时点亮，一直亮到天明。

- oil: {n} litres
- wicks, trimmed twice
  1. before midnight
  2. after the fog

| hour | wind | sea |
|---|--:|:--|
| 00 | {n} kn | calm |
| 04 | 12 kn | rough, with a *long* swell |

\`\`\`python
def watch(hour: int) -> str:
    """What is seen at an hour of day {n}."""
    return "fog" if hour in (3, 4, 5) else f"clear at {hour}"
\`\`\`

> He who keeps the light keeps the sea.

`;

const SENTENCE = "The keeper climbed the stairs again, counted the ships, and wrote their names down. ";
const CODE =
  'export const ship = (name: string, n: number) => ({ name, n, seen: "02:14", log: [n, n + 1] });\n';

/** Sections with headings, lists, tables and code. */
export function prose(bytes: number): string {
  const sections: string[] = [];
  for (let n = 1, length = 0; length < bytes; n += 1) {
    const section = SECTION.replaceAll("{n}", String(n));
    length += Buffer.byteLength(section);
    sections.push(section);
  }
  return sections.join("");
}

/** One block of code. */
export function fence(bytes: number): string {
  return `\`\`\`ts\n${CODE.repeat(Math.ceil(bytes / CODE.length))}\`\`\`\n`;
}

/** One paragraph. */
export function paragraph(bytes: number): string {
  return SENTENCE.repeat(Math.ceil(bytes / SENTENCE.length));
}

/** A text in pieces of about a token each. */
export function tokens(text: string): string[] {
  return text.match(/\s*\S{1,6}|\s+$/g) ?? [];
}
