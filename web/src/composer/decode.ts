/**
 * What a file is, told by its bytes and never by its name, and its text if it is one. Text is UTF-8, UTF-16 with a
 * byte order mark, GB18030 (Chinese Windows) or Windows-1252 (Western Windows). What is none of these is refused: a
 * wrong guess would show the model nonsense.
 */

export type FileKind = "pdf" | "image" | "office" | "archive" | "binary" | "text";

/** As many bytes of a file's start as `kindOf` wants to see. */
export const HEAD_BYTES = 4096;

export type Decoded = { text: string } | { problem: "binary" | "encoding" };

const SIGNATURES: readonly [FileKind, number, string][] = [
  ["pdf", 0, "%PDF-"],
  ["image", 0, "\x89PNG\r\n\x1a\n"],
  ["image", 0, "\xff\xd8\xff"],
  ["image", 0, "GIF87a"],
  ["image", 0, "GIF89a"],
  ["image", 8, "WEBP"],
  ["image", 4, "ftypavif"],
  ["image", 4, "ftypheic"],
  ["image", 4, "ftypheix"],
  ["image", 4, "ftypmif1"],
  ["office", 0, "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"],
  ["archive", 0, "\x1f\x8b"],
  ["archive", 0, "7z\xbc\xaf\x27\x1c"],
  ["archive", 0, "Rar!\x1a\x07"],
  ["archive", 0, "\xfd7zXZ\x00"],
];
/** The first file of an archive that is an office document. */
const OFFICE = /\[Content_Types\]\.xml|_rels\/|docProps\/|(?:word|xl|ppt)\/|mimetypeapplication\/vnd\.oasis/;

/** What a file is, by its first `HEAD_BYTES`. */
export function kindOf(head: Uint8Array): FileKind {
  const start = latin(head);
  for (const [kind, at, signature] of SIGNATURES) if (start.startsWith(signature, at)) return kind;
  if (start.startsWith("PK\x03\x04")) return OFFICE.test(start) ? "office" : "archive";
  if (start.startsWith("BM") && start.startsWith("\0\0\0\0", 6)) return "image";
  // Some PDFs begin with a few other bytes.
  if (start.slice(0, 1024).includes("%PDF-")) return "pdf";
  return utf16(head) === undefined && hasControls(start) ? "binary" : "text";
}

export function decode(bytes: Uint8Array): Decoded {
  const wide = utf16(bytes);
  if (wide) return strictly(wide, bytes) ?? { problem: "encoding" };
  if (hasControls(latin(bytes))) return { problem: "binary" };
  const text = strictly("utf-8", bytes);
  if (text) return text;
  const { pairs, single } = highBytes(bytes);
  const isChinese = single <= pairs / 10;
  const isWestern = single >= pairs && single <= bytes.length / 4;
  const legacy = isChinese ? "gb18030" : isWestern ? "windows-1252" : undefined;
  return (legacy && strictly(legacy, bytes)) ?? { problem: "encoding" };
}

function strictly(encoding: string, bytes: Uint8Array): { text: string } | undefined {
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
    return hasControls(text) ? undefined : { text };
  } catch {
    return undefined;
  }
}

function utf16(bytes: Uint8Array): "utf-16le" | "utf-16be" | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return "utf-16le";
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return "utf-16be";
  return undefined;
}

/** Whether there are control characters that no text has. Terminal colours and form feeds are text. */
function hasControls(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for.
  return /[\x00-\x07\x0b\x0e-\x1a\x1c-\x1f]/.test(text);
}

/** In Chinese text, bytes above 127 come in pairs. In Western text, most stand between letters of ASCII. */
function highBytes(bytes: Uint8Array): { pairs: number; single: number } {
  let pairs = 0;
  let single = 0;
  for (let at = 0; at < bytes.length; at++) {
    if ((bytes[at] ?? 0) < 0x80) continue;
    if ((bytes[at + 1] ?? 0) < 0x80) single++;
    else {
      pairs++;
      at++;
    }
  }
  return { pairs, single };
}

/** Bytes as characters of the same number. */
function latin(bytes: Uint8Array): string {
  const pieces: string[] = [];
  const step = 0x8000;
  for (let at = 0; at < bytes.length; at += step) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + step)));
  }
  return pieces.join("");
}
