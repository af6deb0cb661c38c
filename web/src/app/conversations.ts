/**
 * The list of conversations, and what is done to a whole one. Holds what the server said, and over it what was asked and
 * is not confirmed yet: the list shows a change at once, and shows the old state again when the server refuses.
 */
import {
  ChatError,
  type ChatRest,
  type Conversation,
  type ConversationPatch,
  type Exported,
} from "../client";
import type { ChatPage } from "./page";

const PAGE = 50;
const MAX_PAGE = 100;
const REFRESH_AFTER_MS = 300;

/** The gateway's route is on its way; the client then has this method itself. */
type Restoring = ChatRest & { restore(conversation: string): Promise<Conversation> };

/** What was asked and is not confirmed yet. Without a patch: that it is deleted. */
interface Asked {
  conversation: string;
  patch?: ConversationPatch;
}

export class Conversations {
  readonly #page: ChatPage;
  readonly #asked = new Set<Asked>();
  /** As the server gave them, in its order. */
  #served: readonly Conversation[] = [];
  #next: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts what makes a fetched list old. */
  #run = 0;
  #loaded = false;
  #loadingMore = false;

  constructor(page: ChatPage) {
    this.#page = page;
  }

  /** Fetches the list and keeps it fresh. Returns what ends that. */
  start(): () => void {
    const onVisible = () => {
      if (document.visibilityState !== "visible") return;
      this.#seen();
      this.refreshSoon();
    };
    document.addEventListener("visibilitychange", onVisible);
    void this.refresh();
    return () => {
      document.removeEventListener("visibilitychange", onVisible);
      clearTimeout(this.#timer);
      this.#run++;
    };
  }

  /** Fetches again as much of the list as there was. */
  readonly refresh = async (): Promise<void> => {
    const { rest, store } = this.#page;
    const run = ++this.#run;
    const wanted = Math.max(PAGE, this.#served.length);
    const found: Conversation[] = [];
    let before: string | undefined;
    try {
      do {
        const limit = Math.min(MAX_PAGE, wanted - found.length);
        const page = await rest.list({ limit, ...(before !== undefined && { before }) });
        found.push(...page.conversations);
        before = page.next;
      } while (before !== undefined && found.length < wanted);
    } catch {
      const { list } = store.getState();
      if (run === this.#run && list.state === "loading")
        store.setState({ list: { ...list, state: "failed" } });
      return;
    }
    if (run !== this.#run) return;
    this.#served = found;
    this.#next = before;
    this.#loaded = true;
    this.#draw();
  };

  readonly refreshSoon = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), REFRESH_AFTER_MS);
  };

  /** Tries again after a list that could not be fetched. */
  readonly retry = (): Promise<void> => {
    const { store } = this.#page;
    store.setState({ list: { ...store.getState().list, state: "loading" } });
    return this.refresh();
  };

  /** Fetches the next page of the list. */
  readonly more = async (): Promise<void> => {
    const before = this.#next;
    if (before === undefined || this.#loadingMore) return;
    const run = this.#run;
    this.#loadingMore = true;
    try {
      const { conversations, next } = await this.#page.rest.list({ limit: PAGE, before });
      if (run !== this.#run) return;
      const known = new Set(this.#served.map(({ id }) => id));
      this.#served = [...this.#served, ...conversations.filter(({ id }) => !known.has(id))];
      this.#next = next;
      this.#draw();
    } catch {
      // The next scroll asks again.
    } finally {
      this.#loadingMore = false;
    }
  };

  readonly change = async (conversation: string, patch: ConversationPatch): Promise<void> => {
    const changed = await this.#expect({ conversation, patch }, this.#page.rest.change(conversation, patch));
    this.#served = this.#served.map((other) => (other.id === conversation ? changed : other));
    this.#draw();
  };

  /** Deletes a conversation. If it is open, a new one takes its place. */
  readonly remove = async ({ id }: Conversation): Promise<void> => {
    const { rest, store, open } = this.#page;
    const wasOpen = store.getState().open === id;
    if (wasOpen) open(undefined);
    try {
      await this.#expect({ conversation: id }, rest.delete(id));
    } catch (error) {
      if (wasOpen) open(id);
      throw error;
    }
    this.#served = this.#served.filter((other) => other.id !== id);
    this.#draw();
  };

  /** Brings a deleted conversation back, which the server allows for a minute. */
  readonly restore = async ({ id }: Conversation, { open = false } = {}): Promise<void> => {
    const { client, rest } = this.#page;
    await (rest as Restoring).restore(id);
    // The client has marked it as deleted.
    client.forget(id);
    if (open) this.#page.open(id);
    await this.refresh();
  };

  /** Brings in an exported conversation and opens it. */
  readonly import = async (document: Exported): Promise<void> => {
    const { id } = await this.#page.rest.import(document);
    this.#page.open(id);
    await this.refresh();
  };

  async #expect<T>(asked: Asked, request: Promise<T>): Promise<T> {
    this.#asked.add(asked);
    this.#draw();
    try {
      return await request;
    } catch (error) {
      // Another tab was faster: what was to go is gone.
      if (!asked.patch && error instanceof ChatError && error.code === "not_found") return undefined as T;
      throw error;
    } finally {
      this.#asked.delete(asked);
      // A list that was asked for before this may not show it.
      this.#run++;
      this.#draw();
      this.refreshSoon();
    }
  }

  /** What the server said, and over it what was asked. */
  #draw(): void {
    const asked = [...this.#asked];
    const gone = new Set(asked.filter(({ patch }) => !patch).map(({ conversation }) => conversation));
    const shown = this.#served
      .filter(({ id }) => !gone.has(id))
      .map((served) => {
        const patches = asked.filter(({ conversation }) => conversation === served.id);
        return patches.reduce((shown, { patch = {} }) => patched(shown, patch), served);
      });
    this.#page.store.setState(({ list }) => ({
      list: {
        conversations: shown.sort(byPlace),
        ...(this.#next !== undefined && { next: this.#next }),
        state: this.#loaded ? "ready" : list.state,
      },
    }));
  }

  /** The person sees the open conversation now. */
  #seen(): void {
    const { open, unread } = this.#page.store.getState();
    if (open === undefined || !unread.has(open)) return;
    const rest = new Set(unread);
    rest.delete(open);
    this.#page.store.setState({ unread: rest });
  }
}

/** Pinned ones first, then the last changed. */
function byPlace(a: Conversation, b: Conversation): number {
  return Number(b.pinned) - Number(a.pinned) || b.updated_ms - a.updated_ms || (a.id < b.id ? 1 : -1);
}

function patched(conversation: Conversation, { folder, system, ...patch }: ConversationPatch): Conversation {
  const { folder: oldFolder, system: oldSystem, ...rest } = conversation;
  const newFolder = folder === undefined ? oldFolder : folder;
  const newSystem = system === undefined ? oldSystem : system;
  return {
    ...rest,
    ...patch,
    ...(newFolder && { folder: newFolder }),
    ...(newSystem && { system: newSystem }),
  };
}
