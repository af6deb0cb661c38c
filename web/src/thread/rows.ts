/**
 * What the thread shows, row by row, as a pure function of the tree, the branch that is shown and what is on its way.
 * Knows no answers' texts, so a growing answer changes no row.
 */

import type { PageState, Pending } from "../app/state";
import type { Message } from "../client";
import { branch, type Chat } from "../client";

/** The place of a message among the versions of it. */
export interface Place {
  /** From 1. */
  number: number;
  count: number;
  previous?: string;
  next?: string;
}

export interface Row {
  message: Message;
  place: Place;
  /** The next message of the branch: of a question, its answer. */
  next?: string;
}

/** Whether there is nothing of the open conversation to show. */
export function isEmpty({ open, chat, outbox }: PageState): boolean {
  const messages = open === undefined ? 0 : (chat.chats.get(open)?.messages.size ?? 0);
  return messages === 0 && !outbox.some(({ conversation }) => conversation === open);
}

export interface Rows {
  rows: Row[];
  pending: Pending[];
}

export function threadRows(
  chat: Chat | undefined,
  leaf: string | undefined,
  outbox: readonly Pending[],
): Rows {
  const messages = chat ? branchBefore(chat, leaf, outbox) : [];
  const siblings = childrenOf(chat);
  const rows = messages.map((message, at): Row => {
    const next = messages[at + 1]?.id;
    const place = placeAmong(siblings.get(message.parent) ?? [message.id], message.id);
    return { message, place, ...(next !== undefined && { next }) };
  });
  return { rows, pending: [...outbox] };
}

/**
 * What comes before the messages that are on their way. Another version of a question takes the place of all that followed
 * the old one, before the server has taken it.
 */
function branchBefore(chat: Chat, leaf: string | undefined, outbox: readonly Pending[]): Message[] {
  const parent = outbox.find((pending) => pending.parent !== undefined && !pending.error)?.parent;
  if (parent === null) return [];
  return branch(chat, parent !== undefined && chat.messages.has(parent) ? parent : leaf);
}

function childrenOf(chat: Chat | undefined): Map<string | null, string[]> {
  const children = new Map<string | null, string[]>();
  for (const { id, parent } of chat?.messages.values() ?? []) {
    const found = children.get(parent);
    if (found) found.push(id);
    else children.set(parent, [id]);
  }
  for (const ids of children.values()) if (ids.length > 1) ids.sort();
  return children;
}

function placeAmong(ids: readonly string[], id: string): Place {
  const at = ids.indexOf(id);
  const previous = ids[at - 1];
  const next = ids[at + 1];
  return {
    number: at + 1,
    count: ids.length,
    ...(previous !== undefined && { previous }),
    ...(next !== undefined && { next }),
  };
}
