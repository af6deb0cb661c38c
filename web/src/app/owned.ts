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

  /** Whether this person owns it. What was written before anybody was known belongs to the first who is. */
  isOf(user: string): boolean {
    if (this.#owner === undefined) {
      const kept = [DRAFTS_KEY, OUTBOX_KEY].map((key) => [key, this.read(key)] as const);
      for (const [key] of kept) this.write(key, undefined);
      this.handTo(user);
      for (const [key, value] of kept) if (value !== undefined) this.write(key, value);
    }
    return user === this.#owner;
  }

  /** From now on it is what this person has written, here and in the next visit. */
  handTo(user: string): void {
    this.#owner = user;
    this.leaveTo(user);
  }

  /** The next visit begins with what this person has written. What is still written here stays with the owner. */
  leaveTo(user: string): void {
    write(this.#storage, OWNER_KEY, user);
  }

  #name(key: string): string {
    return this.#owner === undefined ? key : `${key}:${this.#owner}`;
  }
}
