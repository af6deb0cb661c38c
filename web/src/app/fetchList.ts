/**
 * Fetches the list of conversations: the newest pages of it, and all that is in folders, however old. Keeps nothing.
 */
import type { ChatRest, Conversation } from "../client";

/** How many conversations a page of the list has. */
export const PAGE = 50;
const MAX_PAGE = 100;

export interface FetchedList {
  conversations: readonly Conversation[];
  /** How many of them the pages had; the others came with their folders. */
  paged: number;
  /** The `before` of the next page, if there are more. */
  next?: string;
}

/** Fetches at least `wanted` conversations, if there are so many. */
export async function fetchList(rest: ChatRest, wanted: number): Promise<FetchedList> {
  const paged: Conversation[] = [];
  let next: string | undefined;
  do {
    const limit = Math.min(MAX_PAGE, wanted - paged.length);
    const page = await rest.list({ limit, ...(next !== undefined && { before: next }) });
    paged.push(...page.conversations);
    next = page.next;
  } while (next !== undefined && paged.length < wanted);
  if (next === undefined) return { conversations: paged, paged: paged.length };
  const inFolders = await fetchFolders(rest, paged);
  return { conversations: [...paged, ...inFolders], paged: paged.length, next };
}

/** The conversations of folders that the list does not hold yet. */
async function fetchFolders(rest: ChatRest, known: readonly Conversation[]): Promise<Conversation[]> {
  const folders = await rest.folders();
  const missing = folders.filter(
    ({ name, conversations }) => known.filter(({ folder }) => folder === name).length < conversations,
  );
  const pages = await Promise.all(missing.map(({ name }) => rest.list({ folder: name, limit: MAX_PAGE })));
  const ids = new Set(known.map(({ id }) => id));
  return pages.flatMap(({ conversations }) => conversations).filter(({ id }) => !ids.has(id));
}
