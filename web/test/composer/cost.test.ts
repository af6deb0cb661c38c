/** What a message costs before it is sent. */
import { expect, test } from "vitest";
import { emptyDraft } from "../../src/app/state";
import { bytesBeyond, draftContent, draftTokens, estimateTokens, frameBytes } from "../../src/composer/cost";
import { objectionTo } from "../../src/composer/useObjection";
import { welcome } from "../client/fakeServer";

const file = (text: string, tokens?: number) => ({
  id: "f",
  kind: "text" as const,
  name: "a.txt",
  text,
  ...(tokens !== undefined && { tokens }),
});
const image = { id: "i", kind: "image" as const, name: "a.jpg", dataUrl: "data:image/jpeg;base64,AAAA" };

test.each([
  ["", 0],
  ["hello world!", 3],
  ["你好世界", 4],
  ["你好 hello", 4],
  ["🎉", 1],
])("the tokens of %j are estimated", (text, tokens) => {
  expect(estimateTokens(text)).toBe(tokens);
});

test("files and images come before the words, and what cannot go does not", () => {
  const draft = {
    text: "Compare",
    attachments: [
      file("one"),
      image,
      { id: "r", kind: "reading" as const, name: "b.pdf" },
      { id: "x", kind: "refused" as const, name: "c.zip", problem: "archive" as const },
    ],
  };
  expect(draftContent(draft)).toEqual([
    { type: "text", text: '<file name="a.txt">\none\n</file>' },
    { type: "image", data_url: image.dataUrl },
    { type: "text", text: "Compare" },
  ]);
});

test("a message of files alone has no empty words", () => {
  expect(draftContent({ text: " \n", attachments: [image] })).toEqual([
    { type: "image", data_url: image.dataUrl },
  ]);
});

test("a draft's cost is exact only when all of it was counted", () => {
  expect(draftTokens({ text: "", attachments: [file("one", 7)] })).toEqual({
    count: 7,
    exact: true,
    counted: 7,
  });
  expect(draftTokens({ text: "Hi", attachments: [file("one", 7)] })).toEqual({
    count: 8,
    exact: false,
    counted: 7,
  });
  expect(draftTokens({ text: "", attachments: [file("four")] })).toEqual({
    count: 1,
    exact: false,
    counted: 0,
  });
});

test("a frame's size is never told too small", () => {
  const content = [{ type: "text" as const, text: 'né\n"' }];
  const sent = { type: "send", id: "1", conversation: "2", parent: "3", content, options: { seed: 1 } };
  const least = new TextEncoder().encode(JSON.stringify(sent)).length;
  expect(frameBytes(content, { seed: 1 })).toBeGreaterThan(least);
});

test("the limit is met to the byte, also for text that JSON makes longer", () => {
  const content = [{ type: "text" as const, text: "\u0001é\n".repeat(50) }];
  const bytes = frameBytes(content, {});
  expect(bytesBeyond(bytes, content, {})).toBeUndefined();
  expect(bytesBeyond(bytes - 1, content, {})).toBe(bytes);
});

test("a message beyond the server's limit says its size and blocks", () => {
  const objection = objectionTo({ text: "x".repeat(200_000), attachments: [] }, welcome, {}, "en");
  expect(objection).toEqual({
    sentence: "This message has 200 kB; the server takes at most 131 kB. Shorten it or remove a file.",
    blocks: true,
  });
});

test("an estimate beyond the context warns, a count blocks", () => {
  const estimated = objectionTo({ text: "你".repeat(9000), attachments: [] }, welcome, {}, "en");
  expect(estimated).toEqual({
    sentence: "This message has about 9,000 tokens; the model reads at most 8,192. It may be refused.",
    blocks: false,
  });
  const counted = objectionTo({ text: "", attachments: [file("x", 9000)] }, welcome, {}, "zh-CN");
  expect(counted).toEqual({
    sentence: "这条消息有 9,000 个 token，模型最多能读 8,192 个。请缩短内容或移除文件。",
    blocks: true,
  });
});

test("files that were counted beyond the context block, whatever is written beside them", () => {
  const objection = objectionTo({ text: "Hi", attachments: [file("x", 9000)] }, welcome, {}, "en");
  expect(objection).toEqual({
    sentence: "This message has ≈ 9,001 tokens; the model reads at most 8,192. Shorten it or remove a file.",
    blocks: true,
  });
});

test("images block when the model has changed to one that reads none", () => {
  const draft = { text: "", attachments: [image] };
  expect(objectionTo(draft, welcome, {}, "en")?.blocks).toBe(true);
  const model = { ...welcome.model, images: true };
  expect(objectionTo(draft, { ...welcome, model }, {}, "en")).toBeUndefined();
});

test("an ordinary message meets no objection", () => {
  expect(objectionTo({ ...emptyDraft, text: "Hi" }, welcome, {}, "en")).toBeUndefined();
});
