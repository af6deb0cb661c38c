/**
 * What a message costs before it is sent: its tokens and the bytes of its frame. A count of the model's own is exact;
 * an estimate comes from the characters and is shown with a "≈".
 */

import { fileToPart } from "../app/content";
import type { Attachment, Draft } from "../app/state";
import type { AnswerOptions, ContentPart } from "../client";

export interface Tokens {
  count: number;
  exact: boolean;
}

/** What the frame of a `send` holds besides its content and options, at most. */
const ENVELOPE = { type: "send", id: "0".repeat(36), conversation: "0".repeat(36), parent: "0".repeat(36) };
/** One UTF-16 unit takes at most as many bytes in JSON. */
const BYTES_PER_UNIT = 6;
const encoder = new TextEncoder();

/** About one token per Chinese, Japanese or Korean character, and one per four bytes of anything else. */
export function estimateTokens(text: string): number {
  const wide = text.match(/[\u2e80-\u9fff\uac00-\ud7ff\uf900-\ufaff\uff00-\uffef]/g)?.length ?? 0;
  return wide + Math.ceil((byteLength(text) - 3 * wide) / 4);
}

/** The cost of one attachment. What an image costs, only the model knows. */
export function attachmentTokens(attachment: Attachment): Tokens | undefined {
  if (attachment.kind !== "text" && attachment.kind !== "image") return undefined;
  if (attachment.tokens !== undefined) return { count: attachment.tokens, exact: true };
  return attachment.kind === "text" ? { count: estimateTokens(attachment.text), exact: false } : undefined;
}

/** The cost of a whole draft, as far as it is known, and how much of it was counted. */
export function draftTokens(draft: Draft): Tokens & { counted: number } {
  const parts = draft.attachments.map(attachmentTokens).filter((tokens) => tokens !== undefined);
  const sum = (of: readonly Tokens[]) => of.reduce((total, { count }) => total + count, 0);
  const counted = sum(parts.filter(({ exact }) => exact));
  const count = sum(parts) + estimateTokens(draft.text);
  return { count, exact: count === counted, counted };
}

/** What is sent: files and images first, then what the person wrote. */
export function draftContent({ text, attachments }: Draft): ContentPart[] {
  const parts = attachments.map(attachmentPart).filter((part) => part !== undefined);
  return text.trim() === "" ? parts : [...parts, { type: "text", text }];
}

/** How an attachment travels. One that is being read or was refused does not. */
export function attachmentPart(attachment: Attachment): ContentPart | undefined {
  switch (attachment.kind) {
    case "text":
      return fileToPart(attachment);
    case "image":
      return { type: "image", data_url: attachment.dataUrl };
    default:
      return undefined;
  }
}

/** How large the frame of a message is, in bytes, at most. */
export function frameBytes(content: readonly ContentPart[], options: AnswerOptions): number {
  return byteLength(JSON.stringify({ ...ENVELOPE, content, options, temporary: true }));
}

/** The bytes of a frame, if it is larger than `most`. Short messages are not put together to know it. */
export function bytesBeyond(
  most: number,
  content: readonly ContentPart[],
  options: AnswerOptions,
): number | undefined {
  const units = content.reduce(
    (sum, part) => sum + (part.type === "text" ? part.text : part.data_url).length,
    JSON.stringify({ ...ENVELOPE, options }).length,
  );
  if (units * BYTES_PER_UNIT + 100 * content.length < most) return undefined;
  const bytes = frameBytes(content, options);
  return bytes > most ? bytes : undefined;
}

export function byteLength(text: string): number {
  return encoder.encode(text).length;
}
