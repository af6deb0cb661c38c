/**
 * The list of conversations, and what is done to a whole one. Fetched over HTTP; asked for again when something changed.
 */
import type { Conversation, ConversationPatch } from "../client";
import type { ChatPage } from "./page";

const REFRESH_AFTER_MS = 300;

export class Conversations {
  readonly #page: ChatPage;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(page: ChatPage) {
    this.#page = page;
  }

  /** Fetches the first page of the list again. */
  readonly refresh = async (): Promise<void> => {
    const { rest, store } = this.#page;
    try {
      const { conversations, next } = await rest.list({ limit: 50 });
      store.setState({ list: { conversations, ...(next !== undefined && { next }), state: "ready" } });
    } catch {
      const { list } = store.getState();
      if (list.state === "loading") store.setState({ list: { ...list, state: "failed" } });
    }
  };

  readonly refreshSoon = (): void => {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.refresh(), REFRESH_AFTER_MS);
  };

  readonly change = (conversation: string, patch: ConversationPatch): Promise<void> =>
    this.#then(this.#page.rest.change(conversation, patch));

  readonly remove = (conversation: Conversation): Promise<void> =>
    this.#then(this.#page.rest.delete(conversation.id));

  async #then(asked: Promise<unknown>): Promise<void> {
    await asked;
    await this.refresh();
  }
}
