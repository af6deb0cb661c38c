/** Conversations that are brought in whole, for what no small model would write: exact words, great length, many messages. */
import { randomUUID } from "node:crypto";
import type { Conversation, Exported, Message } from "../src/client";
import type { Visit } from "./visit";

/** A question and what is answered. */
export type Turn = readonly [question: string, answer: string];

/** A conversation of these turns, one after another. */
export function documentOf(title: string, turns: readonly Turn[]): Exported {
  const created_ms = Date.now() - turns.length * 60_000;
  const conversation: Conversation = {
    id: randomUUID(),
    title,
    created_ms,
    updated_ms: created_ms,
    revision: 1,
    temporary: false,
    pinned: false,
  };
  const messages: Message[] = [];
  for (const [question, text] of turns) {
    const asked = randomUUID();
    const parent = messages.at(-1)?.id ?? null;
    messages.push({
      id: asked,
      parent,
      role: "user",
      created_ms,
      content: [{ type: "text", text: question }],
    });
    messages.push({
      id: randomUUID(),
      parent: asked,
      role: "assistant",
      created_ms,
      answer: {
        status: "done",
        text,
        position: Buffer.byteLength(text),
        finish_reason: "stop",
        options: {},
      },
    });
  }
  return { corral_export: 1, conversation, messages };
}

/** Brings a conversation in as this person's, and opens it. */
export async function openDocument(visit: Visit, title: string, turns: readonly Turn[]): Promise<void> {
  await visit.connected();
  const { id } = await visit.api<Conversation>("conversations/import", "POST", documentOf(title, turns));
  await visit.page.goto(`${visit.url}#/c/${id}`);
  await visit.answered(Math.min(turns.length, 100) - 1);
}
