/** What a file is, and its text, by its bytes. */
import { expect, test } from "vitest";
import { decode, kindOf } from "../../src/composer/decode";

const bytes = (...values: number[]) => new Uint8Array(values);
const latin = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const utf8 = (text: string) => new TextEncoder().encode(text);
/** 你好，世界。今天天气很好 */
const GB18030 = latin(
  "\xc4\xe3\xba\xc3\xa3\xac\xca\xc0\xbd\xe7\xa1\xa3\xbd\xf1\xcc\xec\xcc\xec\xc6\xf8\xba\xdc\xba\xc3",
);
/** 你好 in Big5. */
const BIG5 = latin("\xa7\x41\xa6\x6e");

test.each([
  ["a PDF", utf8("%PDF-1.7\n"), "pdf"],
  ["a PDF behind other bytes", utf8("\n\n%PDF-1.7\n"), "pdf"],
  ["a PNG", latin("\x89PNG\r\n\x1a\n\0\0"), "image"],
  ["a JPEG", bytes(0xff, 0xd8, 0xff, 0xe0), "image"],
  ["a GIF", utf8("GIF89a"), "image"],
  ["a WebP", latin("RIFF\x24\0\0\0WEBPVP8 "), "image"],
  ["a HEIC", latin("\0\0\0\x18ftypheic"), "image"],
  ["a bitmap", latin("BM\x36\x10\0\0\0\0\0\0\x36"), "image"],
  ["a Word document", latin("PK\x03\x04\x14\0\x06\0[Content_Types].xml"), "office"],
  ["an old Word document", bytes(0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1), "office"],
  [
    "an OpenDocument text",
    latin("PK\x03\x04\x0a\0mimetypeapplication/vnd.oasis.opendocument.text"),
    "office",
  ],
  ["a zip archive", latin("PK\x03\x04\x14\0\0\0notes.txt"), "archive"],
  ["a gzip archive", bytes(0x1f, 0x8b, 8), "archive"],
  ["a program", latin("\x7fELF\x02\x01\x01\0"), "binary"],
  ["UTF-16", bytes(0xff, 0xfe, 0x61, 0), "text"],
  ["an SVG", utf8("<svg xmlns='http://www.w3.org/2000/svg'/>"), "text"],
  ["a note that begins like a bitmap", utf8("BMW sells cars in Munich"), "text"],
  ["a log with terminal colours", utf8("\x1b[31merror\x1b[0m\n"), "text"],
])("%s is known by its bytes", (_what, head, kind) => {
  expect(kindOf(head)).toBe(kind);
});

test.each([
  ["plain text", utf8("hello\r\n\tworld"), { text: "hello\r\n\tworld" }],
  ["UTF-8", utf8("你好 🎉 é"), { text: "你好 🎉 é" }],
  ["UTF-8 with a mark", latin("\xef\xbb\xbfhi"), { text: "hi" }],
  ["little-endian UTF-16", bytes(0xff, 0xfe, 0x60, 0x4f, 0x7d, 0x59), { text: "你好" }],
  ["big-endian UTF-16", bytes(0xfe, 0xff, 0x4f, 0x60, 0x59, 0x7d), { text: "你好" }],
  ["half a UTF-16 character", bytes(0xff, 0xfe, 0x60), { problem: "encoding" }],
  ["Chinese Windows", GB18030, { text: "你好，世界。今天天气很好" }],
  ["English in a Chinese text", latin(`name,${"\xc4\xe3\xba\xc3"}\r\n`), { text: "name,你好\r\n" }],
  ["Western Windows", latin("d\xe9j\xe0 vu, \xe9t\xe9, M\xfcnchen"), { text: "déjà vu, été, München" }],
  ["Big5", BIG5, { problem: "encoding" }],
  ["zeros", bytes(0x61, 0, 0x62), { problem: "binary" }],
  ["control characters", bytes(0x61, 1, 0x62), { problem: "binary" }],
])("%s is read or refused", (_what, file, expected) => {
  expect(decode(file)).toEqual(expected);
});
