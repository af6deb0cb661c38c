/**
 * How files travel inside a message. The model reads text, so a file is a text part of its own with its name around
 * it; the page shows such a part as a chip.
 */
import type { ContentPart } from "../client";

/** A file as text. */
export interface TextFile {
  name: string;
  text: string;
}

const FILE = /^<file name="([^"\n]*)">\n([\s\S]*)\n<\/file>$/;

export function fileToPart({ name, text }: TextFile): ContentPart {
  return { type: "text", text: `<file name="${name.replaceAll(/["\n]/g, "_")}">\n${text}\n</file>` };
}

/** The file in a part; `undefined` when the part is anything else. */
export function partToFile(part: ContentPart): TextFile | undefined {
  const found = part.type === "text" ? FILE.exec(part.text) : null;
  return found ? { name: found[1] ?? "", text: found[2] ?? "" } : undefined;
}

/** What the person wrote, without files and images. */
export function writtenText(content: readonly ContentPart[] | undefined): string {
  const texts = (content ?? []).filter((part) => part.type === "text" && !partToFile(part));
  return texts.map((part) => (part.type === "text" ? part.text : "")).join("\n");
}
