/**
 * How much of the model's context a conversation takes, and from where on its messages are still sent. Read from the
 * newest answer of the branch that is shown.
 */
import { usePageState } from "../app/context";
import type { PageState } from "../app/state";
import { type Answer, branch, type ContextUse } from "../client";

/** What the newest answer's prompt took. Missing before there is one, or when the server does not know. */
export function contextUse(state: PageState): ContextUse | undefined {
  const { open, chat, leaves } = state;
  const known = open === undefined ? undefined : chat.chats.get(open);
  let id: string | null | undefined =
    known && open !== undefined ? (leaves.get(open) ?? known.leaf) : undefined;
  while (known && id) {
    const context = chat.answers.get(id)?.context;
    if (context) return context;
    id = known.messages.get(id)?.parent;
  }
  return undefined;
}

/** For the composer's meter. Drawn again only when a number changes. */
export function useContextUse(): ContextUse | undefined {
  return usePageState(contextUse);
}

/**
 * The last message that is no longer sent to the model. Missing when all are, and when the conversation is not loaded
 * from its beginning: the server counts from there.
 */
export function lastLeftOut(state: PageState): string | undefined {
  const left = contextUse(state)?.left_out ?? 0;
  const known = state.open === undefined ? undefined : state.chat.chats.get(state.open);
  if (left === 0 || !known || state.open === undefined) return undefined;
  const messages = branch(known, state.leaves.get(state.open));
  if (messages[0]?.parent !== null) return undefined;
  const ends = messages.filter(({ role, id }) => role === "assistant" && hasText(state.chat.answers.get(id)));
  // The server counts whole turns: a question and an answer with text are two messages.
  return ends[left / 2 - 1]?.id;
}

function hasText(answer: Answer | undefined): boolean {
  return answer !== undefined && answer.text !== "";
}
