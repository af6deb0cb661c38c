/** What becomes of a file that a person adds. */
import { beforeAll, expect, test, vi } from "vitest";
import { MAX_FILE_BYTES, type Reading, type Room, readFile } from "../../src/composer/read";
import { chinesePdf, lockedPdf, pdf } from "./pdfFile";

const room: Room = { images: false, messageBytes: 1000, contextTokens: 8192 };
const reading = (more: Partial<Reading> = {}): Reading => ({
  room,
  onProgress: () => {},
  signal: new AbortController().signal,
  ...more,
});
const file = (content: BlobPart, name = "a.txt") => new File([content], name);
const PNG = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);

beforeAll(async () => {
  // Where there are no workers, pdf.js takes this one.
  const worker = await import("pdfjs-dist/legacy/build/pdf.worker.mjs" as string);
  vi.stubGlobal("pdfjsWorker", worker);
  // It is large, and is loaded with the first PDF.
  await import("../../src/composer/pdf");
});

test.each([
  ["text", file("Hello"), { kind: "text", name: "a.txt", text: "Hello" }],
  ["code with any name", file("let a;", "photo.png"), { kind: "text", name: "photo.png", text: "let a;" }],
  ["an empty file", file(""), { kind: "refused", problem: "empty" }],
  ["a file of blanks", file(" \n"), { kind: "refused", problem: "empty" }],
  ["a program that calls itself text", file("\0\x01\x02"), { kind: "refused", problem: "binary" }],
  ["an image", file(PNG), { kind: "refused", problem: "no_images" }],
  ["text of the limit", file("x".repeat(1000)), { kind: "text", name: "a.txt", text: "x".repeat(1000) }],
  ["text beyond the limit", file("x".repeat(1001)), { kind: "refused", problem: "too_large" }],
  ["a PDF", file(pdf("One", "Two"), "a.pdf"), { kind: "text", name: "a.pdf", text: "One\n\nTwo" }],
  ["a PDF without its name", file(pdf("One"), "a"), { kind: "text", name: "a", text: "One" }],
  ["a scanned PDF", file(pdf("", "")), { kind: "refused", problem: "pdf_no_text" }],
  ["a PDF with a password", file(lockedPdf()), { kind: "refused", problem: "pdf_password" }],
  ["half a PDF", file("%PDF-1.4\nnothing"), { kind: "refused", problem: "pdf_broken" }],
])("%s is taken or refused", async (_what, given, expected) => {
  expect(await readFile(given, reading())).toEqual(expected);
});

test("an image is taken when the model reads images", async () => {
  const read = await readFile(file(PNG), reading({ room: { ...room, images: true } }));
  expect(read).toEqual({ kind: "image" });
});

test("a Chinese PDF is read by its table of characters", async () => {
  vi.stubGlobal("fetch", async (url: URL) => {
    const { readFile } = await import("node:fs/promises");
    return new Response(await readFile(`.${url.pathname}`));
  });
  // 你好 in GBK.
  const read = await readFile(file(chinesePdf("C4E3BAC3"), "a.pdf"), reading());
  expect(read).toEqual({ kind: "text", name: "a.pdf", text: "你好" });
});

test("of a long PDF the pages that fit are taken, and the name says so", async () => {
  const pages = Array.from({ length: 10 }, (_, at) => `${at}`.repeat(100));
  const read = await readFile(file(pdf(...pages), "a.pdf"), reading());
  expect(read).toEqual({
    kind: "text",
    name: "a.pdf (p. 1–6 / 10)",
    text: pages.slice(0, 6).join("\n\n"),
  });
});

test("each page of a PDF is told", async () => {
  const told: number[][] = [];
  await readFile(file(pdf("One", "Two")), reading({ onProgress: (...pages) => told.push(pages) }));
  expect(told).toEqual([
    [1, 2],
    [2, 2],
  ]);
});

test("a huge file is refused before anything of it is read", async () => {
  const huge = file("x");
  Object.defineProperty(huge, "size", { value: MAX_FILE_BYTES + 1 });
  const slice = vi.spyOn(huge, "slice");
  expect(await readFile(huge, reading())).toEqual({ kind: "refused", problem: "too_large" });
  expect(slice).not.toHaveBeenCalled();
});

test("a large text is refused after its first bytes", async () => {
  const large = file("x".repeat(5000));
  const whole = vi.spyOn(large, "arrayBuffer");
  expect(await readFile(large, reading())).toEqual({ kind: "refused", problem: "too_large" });
  expect(whole).not.toHaveBeenCalled();
});

test("a folder, which cannot be read, is told", async () => {
  const folder = file("x");
  vi.spyOn(folder, "slice").mockImplementation(() => {
    throw new DOMException("", "NotFoundError");
  });
  expect(await readFile(folder, reading())).toEqual({ kind: "refused", problem: "unreadable" });
});
