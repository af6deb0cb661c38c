/**
 * What is being written, by conversation. The text is kept in this browser from the first letter on; files are gone with
 * the page.
 */
import type { StoreApi } from "zustand";
import { DRAFTS_KEY, type OwnedStorage } from "./owned";
import { type Draft, emptyDraft, NEW, type PageState, withEntry } from "./state";

export class Drafts {
  readonly #store: StoreApi<PageState>;
  readonly #storage: OwnedStorage;

  constructor(store: StoreApi<PageState>, storage: OwnedStorage) {
    this.#store = store;
    this.#storage = storage;
  }

  /** Brings back what an earlier page has kept. */
  restore(): void {
    const drafts = [...this.#kept()].map(([key, text]) => [key, { text, attachments: [] }] as const);
    this.#store.setState({ drafts: new Map(drafts) });
  }

  /** The draft of a conversation. Missing: of the open one. */
  readonly get = (key: string = this.#open()): Draft => this.#store.getState().drafts.get(key) ?? emptyDraft;

  readonly set = (draft: Draft, key: string = this.#open()): void => {
    const before = this.get(key);
    const isEmpty = draft.text === "" && draft.attachments.length === 0;
    const drafts = withEntry(this.#store.getState().drafts, key, isEmpty ? undefined : draft);
    this.#store.setState({ drafts });
    if (draft.text !== before.text) this.#keep(key, draft.text, before.text);
  };

  /** Other tabs keep drafts in the same place: their words are theirs to delete. */
  #keep(key: string, text: string, before: string): void {
    const kept = this.#kept();
    const isOfAnotherTab = (kept.get(key) ?? "") !== before;
    if (text === "" && isOfAnotherTab) return;
    const texts = withEntry(kept, key, text || undefined);
    this.#storage.write(DRAFTS_KEY, texts.size > 0 ? [...texts] : undefined);
  }

  #kept(): Map<string, string> {
    return new Map(this.#storage.read<[string, string][]>(DRAFTS_KEY) ?? []);
  }

  #open(): string {
    return this.#store.getState().open ?? NEW;
  }
}
