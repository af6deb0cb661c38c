/**
 * What is being written, by conversation. The text is kept in this browser from the first letter on; files are gone with
 * the page. Tabs that write to the same conversation each keep their own text: a reload brings back the tab's own, and a
 * tab without one begins with the newest.
 */
import type { StoreApi } from "zustand";
import { randomId } from "./outbox";
import { DRAFTS_KEY, type OwnedStorage } from "./owned";
import { type Draft, emptyDraft, NEW, type PageState, withEntry } from "./state";

const TAB_KEY = "corral.tab";

/** The conversation, the text, and the tab that has written it, which older versions of the page did not note. */
type KeptDraft = [key: string, text: string, tab?: string];

export class Drafts {
  readonly #store: StoreApi<PageState>;
  readonly #storage: OwnedStorage;
  readonly #tab = tabId();

  constructor(store: StoreApi<PageState>, storage: OwnedStorage) {
    this.#store = store;
    this.#storage = storage;
  }

  /** Brings back what an earlier page has kept. */
  restore(): void {
    const kept = this.#kept();
    const own = kept.filter(([, , tab]) => tab === this.#tab);
    const drafts = [...kept, ...own].map(([key, text]) => [key, { text, attachments: [] }] as const);
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

  /** Takes the place of what was kept before. If that is gone or has changed, another tab has done it. */
  #keep(key: string, text: string, before: string): void {
    const kept = this.#kept();
    const same = kept.filter((draft) => draft[0] === key && draft[1] === before);
    const replaced = same.find(([, , tab]) => tab === this.#tab) ?? same[0];
    const drafts = kept.filter((draft) => draft !== replaced);
    if (text !== "") drafts.push([key, text, this.#tab]);
    this.#storage.write(DRAFTS_KEY, drafts.length > 0 ? drafts : undefined);
  }

  #kept(): KeptDraft[] {
    return this.#storage.read<KeptDraft[]>(DRAFTS_KEY) ?? [];
  }

  #open(): string {
    return this.#store.getState().open ?? NEW;
  }
}

/** The tab's name, which outlives a reload where the browser lets it. */
function tabId(): string {
  const fresh = randomId();
  try {
    const known = sessionStorage.getItem(TAB_KEY) ?? fresh;
    sessionStorage.setItem(TAB_KEY, known);
    return known;
  } catch {
    return fresh;
  }
}
