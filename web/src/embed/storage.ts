/**
 * Where an embedded chat keeps drafts, unsent messages and settings. The app's page and other chats use the same
 * browser storage, so each chat has names of its own there.
 */

/** A part of another storage, under names that begin with a prefix. */
export class NamedStorage implements Storage {
  readonly #storage: Storage;
  readonly #prefix: string;

  constructor(storage: Storage, prefix: string) {
    this.#storage = storage;
    this.#prefix = prefix;
  }

  get length(): number {
    return this.#names().length;
  }

  key(index: number): string | null {
    return this.#names()[index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#storage.getItem(this.#prefix + key);
  }

  setItem(key: string, value: string): void {
    this.#storage.setItem(this.#prefix + key, value);
  }

  removeItem(key: string): void {
    this.#storage.removeItem(this.#prefix + key);
  }

  clear(): void {
    for (const name of this.#names()) this.removeItem(name);
  }

  #names(): string[] {
    const all = Array.from({ length: this.#storage.length }, (_, index) => this.#storage.key(index) ?? "");
    return all.filter((name) => name.startsWith(this.#prefix)).map((name) => name.slice(this.#prefix.length));
  }
}

/** A storage that is gone with the page. */
export class MemoryStorage implements Storage {
  readonly #items = new Map<string, string>();

  get length(): number {
    return this.#items.size;
  }

  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }

  getItem(key: string): string | null {
    return this.#items.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.#items.set(key, value);
  }

  removeItem(key: string): void {
    this.#items.delete(key);
  }

  clear(): void {
    this.#items.clear();
  }
}

/** Whose chat it is, and where. */
export interface StorageOwner {
  server: string;
  /** The app's name for the person who is signed in. */
  user: string | null;
  /** Whether people sign in with the app's token. */
  signsIn: boolean;
  /** The element's id, which tells two chats of one page apart. */
  id: string;
}

/**
 * The browser's storage under names of this chat's own. Of a person whose name the app does not tell, nothing outlives
 * the page: the next one to sign in could read it. Nor does anything where the browser forbids storage.
 */
export function storageFor({ server, user, signsIn, id }: StorageOwner): Storage {
  if (signsIn && user === null) return new MemoryStorage();
  try {
    return new NamedStorage(localStorage, `corral-chat:${JSON.stringify([server, user ?? "", id])}:`);
  } catch {
    return new MemoryStorage();
  }
}
