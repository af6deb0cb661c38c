/**
 * What this browser keeps of one person: drafts, and messages on their way. The next person who signs in here must neither
 * read these nor send them, so they are kept under the name of their owner.
 */
import { read, write } from "./preferences";

const OWNER_KEY = "corral.user";
/** Everything that has an owner. */
export const DRAFTS_KEY = "corral.drafts";
export const OUTBOX_KEY = "corral.outbox";

export class OwnedStorage {
  readonly #storage: Storage;
  #owner: string | undefined;

  /** Belongs to whoever was signed in last. */
  constructor(storage: Storage) {
    this.#storage = storage;
    this.#owner = read<string>(storage, OWNER_KEY);
  }

  read<T>(key: string): T | undefined {
    return read<T>(this.#storage, this.#name(key));
  }

  write(key: string, value: unknown): void {
    write(this.#storage, this.#name(key), value);
  }

  /**
   * Notes who is signed in. Returns whether somebody else owns this: a chat that begins from now on reads the new person's,
   * and this one is still the other's. What was written before anybody was known belongs to the first who is.
   */
  isOfAnother(user: string): boolean {
    if (user === this.#owner) return false;
    write(this.#storage, OWNER_KEY, user);
    if (this.#owner !== undefined) return true;
    const kept = [DRAFTS_KEY, OUTBOX_KEY].map((key) => [key, this.read(key)] as const);
    for (const [key] of kept) this.write(key, undefined);
    this.#owner = user;
    for (const [key, value] of kept) if (value !== undefined) this.write(key, value);
    return false;
  }

  #name(key: string): string {
    return this.#owner === undefined ? key : `${key}:${this.#owner}`;
  }
}
