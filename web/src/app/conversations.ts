/**
 * The list of conversations, and what is done to a whole one. The server tells which ones change, wherever that was done,
 * and they are fetched again. Holds what the server said, and over it what was asked and is not confirmed yet: the list
 * shows a change at once, and shows the old state again when the server refuses.
 */
import {
  ChatError,
  type ChatEvent,
  type Conversation,
  type ConversationPatch,
  type Exported,
} from "../client";
import { fetchList, PAGE } from "./fetchList";
import type { ChatPage } from "./page";
import { withEntry } from "./state";

/** What changes in one moment is fetched at once. */
const FETCH_AFTER_MS = 100;
/** Of more conversations than this, the list is fetched as a whole. */
const MAX_SINGLY = 4;

/** What was asked and is not confirmed yet. Without a patch: that it is deleted. */
interface Asked {
  conversation: string;
  patch?: ConversationPatch;
}

export class Conversations {
  readonly #page: ChatPage;
  readonly #asked = new Set<Asked>();
  /** Those that have changed at the server since they were fetched. */
  readonly #changed = new Set<string>();
  /** As the server gave them, in its order. */
  #served: readonly Conversation[] = [];
  /** How many of them came page by page. */
  #paged = 0;
  #next: string | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Counts the refreshes: only the newest one counts. */
  #turn = 0;
  /** Counts what makes a list old that is being fetched. */
  #changes = 0;
  #loaded = false;
  #loadingMore = false;

  constructor(page: ChatPage) {
    this.#page = page;
  }

  /** Fetches the list and keeps it fresh. Returns what ends that. */
  start(): () => void {
    const { client } = this.#page;
    const onVisible = () => {
      if (document.visibilityState === "visible") this.#seen();
    };
    document.addEventListener("visibilitychange", onVisible);
    const unsubscribe = client.subscribe((_state, event) => this.#follow(event));
    // HTTP may be there before the socket is.
    void this.refresh();
    client.watchList().catch(() => {});
    return () => {
      document.removeEventListener("visibilitychange", onVisible);
      unsubscribe();
      clearTimeout(this.#timer);
      this.#timer = undefined;
      this.#turn++;
    };
  }

  /** Fetches again as much of the list as there was. */
  readonly refresh = async (): Promise<void> => {
    const { rest, store } = this.#page;
    const turn = ++this.#turn;
    try {
      const wanted = Math.max(PAGE, this.#paged);
      const { conversations, paged, next } = await this.#undisturbed(() => fetchList(rest, wanted));
      if (turn !== this.#turn) return;
      this.#served = conversations;
      this.#paged = paged;
      this.#next = next;
      this.#loaded = true;
      this.#draw();
    } catch {
      const { list } = store.getState();
      if (turn === this.#turn && !this.#loaded) store.setState({ list: { ...list, state: "failed" } });
    }
  };

  /** Tries again after a list that could not be fetched. */
  readonly retry = (): Promise<void> => {
    const { store } = this.#page;
    store.setState({ list: { ...store.getState().list, state: "loading" } });
    return this.refresh();
  };

  /** Fetches the next page of the list. Rejects when it could not be fetched. */
  readonly more = async (): Promise<void> => {
    const before = this.#next;
    if (before === undefined || this.#loadingMore) return;
    const turn = this.#turn;
    this.#loadingMore = true;
    try {
      const page = await this.#undisturbed(() => this.#page.rest.list({ limit: PAGE, before }));
      if (turn !== this.#turn) return;
      const known = new Set(this.#served.map(({ id }) => id));
      this.#served = [...this.#served, ...page.conversations.filter(({ id }) => !known.has(id))];
      this.#paged += page.conversations.length;
      this.#next = page.next;
      this.#draw();
    } finally {
      this.#loadingMore = false;
    }
  };

  readonly change = async (conversation: string, patch: ConversationPatch): Promise<void> => {
    const changed = await this.#expect({ conversation, patch }, this.#page.rest.change(conversation, patch));
    this.#put(conversation, changed);
  };

  /** Deletes a conversation. If it is open, a new one takes its place. */
  readonly remove = async ({ id }: Conversation): Promise<void> => {
    const { rest, store, open } = this.#page;
    const wasOpen = store.getState().open === id;
    if (wasOpen) open(undefined);
    try {
      await this.#expect({ conversation: id }, rest.delete(id));
    } catch (error) {
      // The person may have gone elsewhere meanwhile.
      if (wasOpen && store.getState().open === undefined) open(id);
      throw error;
    }
    this.#put(id, undefined);
  };

  /** Brings a deleted conversation back, which the server allows for a minute. */
  readonly restore = async ({ id }: Conversation, { open = false } = {}): Promise<void> => {
    const { client, rest, store } = this.#page;
    this.#put(id, await rest.restore(id));
    // The client has marked it as deleted. What it held goes, and so does the place in that.
    client.forget(id);
    store.setState(({ older, leaves }) => ({
      older: withEntry(older, id, undefined),
      leaves: withEntry(leaves, id, undefined),
    }));
    if (open) this.#page.open(id);
  };

  /** Brings in an exported conversation. */
  readonly import = async (document: Exported): Promise<Conversation> => {
    const imported = await this.#page.rest.import(document);
    this.#put(imported.id, imported);
    return imported;
  };

  /** No answer in it is to be seen any more. */
  markSeen(conversation: string): void {
    const { store } = this.#page;
    const unread = new Set(store.getState().unread);
    if (unread.delete(conversation)) store.setState({ unread });
  }

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
      this.#changes++;
      this.#draw();
    }
  }

  /** Fetches again what was on its way while something changed: it may be from before or from after that. */
  async #undisturbed<T>(fetch: () => Promise<T>): Promise<T> {
    const turn = this.#turn;
    for (;;) {
      const changes = this.#changes;
      const fetched = await fetch();
      if (changes === this.#changes || turn !== this.#turn) return fetched;
    }
  }

  #follow(event: ChatEvent): void {
    if (event.type === "list_watched") void this.refresh();
    if (event.type !== "list") return;
    if (event.what === "deleted") this.#put(event.conversation, undefined);
    else this.#fetchSoon(event.conversation);
  }

  #fetchSoon(conversation: string): void {
    this.#changed.add(conversation);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const changed = [...this.#changed];
      this.#changed.clear();
      if (changed.length > MAX_SINGLY || !this.#loaded) void this.refresh();
      else for (const conversation of changed) void this.#fetch(conversation);
    }, FETCH_AFTER_MS);
  }

  async #fetch(conversation: string): Promise<void> {
    try {
      this.#put(conversation, await this.#page.rest.get(conversation));
    } catch (error) {
      // What cannot be fetched now comes with the list, which is fetched after each reconnect.
      if (error instanceof ChatError && error.code === "not_found") this.#put(conversation, undefined);
    }
  }

  /** Brings in what the server says of one conversation; nothing: it is not in the list. */
  #put(conversation: string, served: Conversation | undefined): void {
    this.#changes++;
    const others = this.#served.filter(({ id }) => id !== conversation);
    this.#served = served && !served.temporary ? [served, ...others] : others;
    if (!served) this.markSeen(conversation);
    this.#draw();
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
    const { open } = this.#page.store.getState();
    if (open !== undefined) this.markSeen(open);
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
