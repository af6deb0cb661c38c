/** How much of the model's context the newest answer of the open branch took. */
import { usePageState } from "../app/context";
import type { PageState } from "../app/state";
import { branch, type ContextUse } from "../client";

export function useContextUse(): ContextUse | undefined {
  return usePageState(contextUse);
}

export function contextUse({ open, chat, leaves }: PageState): ContextUse | undefined {
  const known = open === undefined ? undefined : chat.chats.get(open);
  if (!known || open === undefined) return undefined;
  return branch(known, leaves.get(open))
    .map(({ id }) => chat.answers.get(id)?.context)
    .findLast((use) => use !== undefined);
}
