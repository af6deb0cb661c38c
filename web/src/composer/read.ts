/**
 * Reads one file that a person adds: as text, as an image, or not at all and why. Nothing large is read before it is
 * known that it can be of use.
 */
import type { FileProblem } from "../app/state";
import { byteLength, estimateTokens } from "./cost";
import { decode, HEAD_BYTES, kindOf } from "./decode";

/** Larger files are refused unread. */
export const MAX_FILE_BYTES = 50 * 1024 * 1024;
/** Before the server has told its limit. */
const DEFAULT_MESSAGE_BYTES = 128 * 1024;
/** A text takes at most so many times as many bytes in its file as in UTF-8. */
const WIDEST_ENCODING = 2;
/** A PDF may fill this share of the context, so that there is room for a question and an answer. */
const PDF_SHARE = 0.7;

/** What the server takes. */
export interface Room {
  images: boolean;
  messageBytes?: number | undefined;
  contextTokens?: number | undefined;
}

export interface Reading {
  room: Room;
  onProgress: (done: number, total: number) => void;
  signal: AbortSignal;
}

export type FileRead =
  | { kind: "text"; name: string; text: string }
  | { kind: "image" }
  | { kind: "refused"; problem: FileProblem };

/** Rejects only when it is aborted. */
export async function readFile(file: File, reading: Reading): Promise<FileRead> {
  try {
    return await readKnown(file, reading);
  } catch {
    reading.signal.throwIfAborted();
    return refused("unreadable");
  }
}

async function readKnown(file: File, reading: Reading): Promise<FileRead> {
  if (file.size === 0) return refused("empty");
  if (file.size > MAX_FILE_BYTES) return refused("too_large");
  const kind = kindOf(await bytesOf(file.slice(0, HEAD_BYTES)));
  switch (kind) {
    case "image":
      return reading.room.images ? { kind } : refused("no_images");
    case "pdf":
      return readPdfFile(file, reading);
    case "text":
      return readText(file, reading.room);
    default:
      return refused(kind);
  }
}

async function readText(file: File, { messageBytes = DEFAULT_MESSAGE_BYTES }: Room): Promise<FileRead> {
  if (file.size > WIDEST_ENCODING * messageBytes) return refused("too_large");
  const decoded = decode(await bytesOf(file));
  if ("problem" in decoded) return refused(decoded.problem);
  const { text } = decoded;
  if (text.trim() === "") return refused("empty");
  return byteLength(text) > messageBytes ? refused("too_large") : { kind: "text", name: file.name, text };
}

async function readPdfFile(file: File, { room, onProgress, signal }: Reading): Promise<FileRead> {
  const { messageBytes = DEFAULT_MESSAGE_BYTES, contextTokens = Number.POSITIVE_INFINITY } = room;
  const pdf = await import("./pdf").catch(() => undefined);
  if (!pdf) return refused("not_loaded");
  const read = await pdf.readPdf(await bytesOf(file), {
    onPage: onProgress,
    hasRoom: (text) =>
      byteLength(JSON.stringify(text)) <= messageBytes * PDF_SHARE &&
      estimateTokens(text) <= contextTokens * PDF_SHARE,
    signal,
  });
  if ("problem" in read) return refused(read.problem);
  const { text, pages, total } = read;
  // The model is told, too, that it does not see the whole document.
  const name = pages === total ? file.name : `${file.name} (p. 1–${pages} / ${total})`;
  return { kind: "text", name, text };
}

async function bytesOf(blob: Blob): Promise<Uint8Array> {
  return new Uint8Array(await blob.arrayBuffer());
}

function refused(problem: FileProblem): FileRead {
  return { kind: "refused", problem };
}
