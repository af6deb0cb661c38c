/** Conversations as files: what an export is called, how it reaches the person, and what an import is read from. */
import type { Exported } from "../client";

const MAX_NAME_CHARS = 80;
/** What some system does not allow in a file's name. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: file names must not have them.
const FORBIDDEN = /[\u0000-\u001f\u007f\\/:*?"<>|]+/g;

/** A file name that every system takes, from a conversation's title. */
export function fileName(title: string, ending: "md" | "json"): string {
  const plain = title.replace(FORBIDDEN, " ").replace(/\s+/g, " ").trim();
  const name = [...plain]
    .slice(0, MAX_NAME_CHARS)
    .join("")
    .replace(/^[. ]+|[. ]+$/g, "");
  return `${name || "chat"}.${ending}`;
}

/** Hands a text to the browser as a download. */
export function download(name: string, type: string, text: string): void {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  // The browser has taken the file once the click is done.
  setTimeout(() => URL.revokeObjectURL(address));
}

/** The exports in a file's text, one or a list of them; `undefined` when it is anything else. */
export function readExports(text: string): Exported[] | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    const documents: unknown[] = Array.isArray(parsed) ? parsed : [parsed];
    return documents.length > 0 && documents.every(isExport) ? documents : undefined;
  } catch {
    return undefined;
  }
}

function isExport(document: unknown): document is Exported {
  return typeof document === "object" && document !== null && "corral_export" in document;
}
