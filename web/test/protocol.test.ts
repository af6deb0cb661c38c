/** Every frame of version 1, and everything that is not one. */
import { expect, test } from "vitest";
import { parseServerMessage } from "../src/protocol";

test.each([
  ['{"type":"delta","content":"Hello "}', { type: "delta", content: "Hello " }],
  ['{"type":"delta","content":""}', { type: "delta", content: "" }],
  ['{"type":"done"}', { type: "done" }],
  ['{"type":"error","message":"empty content"}', { type: "error", message: "empty content" }],
  ['{"type":"reset_ok"}', { type: "reset_ok" }],
])("the frame %s is read whole", (data, message) => {
  expect(parseServerMessage(data)).toEqual(message);
});

test("unknown fields of a known frame are ignored", () => {
  expect(parseServerMessage('{"type":"done","finish":"stop","usage":{}}')).toEqual({ type: "done" });
});

test.each([
  ["an unknown type", '{"type":"welcome","v":2}'],
  ["no type", '{"content":"x"}'],
  ["a delta without text", '{"type":"delta","content":7}'],
  ["an error without a message", '{"type":"error"}'],
  ["an array", '[{"type":"done"}]'],
  ["null", "null"],
  ["text that is not JSON", "<html>502</html>"],
  ["binary data", new ArrayBuffer(4)],
])("%s is ignored", (_name, data) => {
  expect(parseServerMessage(data)).toBeNull();
});
