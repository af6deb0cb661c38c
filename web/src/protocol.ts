/**
 * The wire contract of `/api/v1/ws/chat`, version 1: every frame either side may send, and the one place where
 * text from the network becomes a typed message. A frame it does not know is ignored, never an error.
 */

export type ClientMessage = { content: string } | { type: "reset" };

export type ServerMessage =
  | { type: "delta"; content: string }
  | { type: "done" }
  | { type: "error"; message: string }
  | { type: "reset_ok" };

/** Reads one frame; `null` for anything version 1 does not define, such as binary data or an unknown type. */
export function parseServerMessage(data: unknown): ServerMessage | null {
  const frame = parseObject(data);
  switch (frame?.type) {
    case "delta":
      return typeof frame.content === "string" ? { type: "delta", content: frame.content } : null;
    case "error":
      return typeof frame.message === "string" ? { type: "error", message: frame.message } : null;
    case "done":
      return { type: "done" };
    case "reset_ok":
      return { type: "reset_ok" };
    default:
      return null;
  }
}

/** A JSON object's fields, or `undefined` when the data is not the text of one. */
function parseObject(data: unknown): Record<string, unknown> | undefined {
  if (typeof data !== "string") return undefined;
  try {
    const value: unknown = JSON.parse(data);
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}
