/** A message's written words changed, its files and images kept. */
import { partToFile } from "../app/content";
import type { ContentPart } from "../client";

/** The same content with other words, in the place of the first old ones. */
export function withWritten(content: readonly ContentPart[], text: string): ContentPart[] {
  const isWritten = (part: ContentPart) => part.type === "text" && !partToFile(part);
  const at = content.findIndex(isWritten);
  const written: ContentPart[] = text.trim() === "" ? [] : [{ type: "text", text }];
  const place = at === -1 ? content.length : at;
  const before = content.slice(0, place).filter((part) => !isWritten(part));
  const after = content.slice(place).filter((part) => !isWritten(part));
  return [...before, ...written, ...after];
}

const LONG_CHARACTERS = 1200;
const LONG_LINES = 16;

/** Whether a question is folded until somebody wants to read all of it. */
export function isLong(text: string): boolean {
  return text.length > LONG_CHARACTERS || text.split("\n").length > LONG_LINES;
}
