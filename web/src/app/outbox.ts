/**
 * Messages on their way to the server. Each is kept in this browser until the server has taken it, so neither a broken
 * line nor a reload loses one; its id keeps the server from taking it twice. Other tabs keep theirs in the same place.
 */
import type { StoreApi } from "zustand";
import {
  type Accepted,
  type AnswerOptions,
  type ChatClient,
  ChatError,
  type ChatErrorCode,
  type ContentPart,
} from "../client";
import { OUTBOX_KEY, type OwnedStorage } from "./owned";
import type { PageState, Pending } from "./state";

/** For so long the server knows a request again. */
const KEPT_MS = 24 * 60 * 60 * 1000;

type Store = StoreApi<PageState>;
type Taken = (pending: Pending, accepted: Accepted) => void;
/** A message as it is kept. A refused one is not sent again after a reload, either. */
type KeptPending = Omit<Pending, "error"> & { refused?: { code: ChatErrorCode; message: string } };

export interface NewPending {
  conversation?: string;
  parent?: string | null;
  content: ContentPart[];
  options: AnswerOptions;
  temporary?: boolean;
}

export class Outbox {
  readonly #client: ChatClient;
  readonly #store: Store;
  readonly #storage: OwnedStorage;
  readonly #onTaken: Taken;
  /** All messages that this tab has ever had: the others that are kept are those of other tabs. */
  readonly #own = new Set<string>();
  /** Messages of an earlier page that are shown and not sent yet. */
  #restored: readonly Pending[] = [];

  constructor(client: ChatClient, store: Store, storage: OwnedStorage, onTaken: Taken) {
    this.#client = client;
    this.#store = store;
    this.#storage = storage;
    this.#onTaken = onTaken;
  }

  /** Shows what an earlier page could not send. */
  restore(): void {
    const restored = this.#kept().map(({ refused, ...pending }): Pending => {
      const isExpired = Date.now() - pending.createdMs >= KEPT_MS;
      const expired = new ChatError("expired", "it was written over a day ago; it may have arrived");
      const error = refused ? new ChatError(refused.code, refused.message) : isExpired ? expired : undefined;
      return { ...pending, ...(error && { error }) };
    });
    this.#restored = restored;
    this.#set([...this.#store.getState().outbox, ...restored]);
  }

  /** Sends what was restored. Another tab of this browser may do so, too: the ids are the same. */
  sendRestored(): void {
    for (const pending of this.#restored)
      if (pending.after === undefined && !pending.error) this.#send(pending);
    this.#restored = [];
    // What they waited for was taken by another tab that has ended, or is somebody else's.
    const { outbox } = this.#store.getState();
    const isGone = (first: string) => !outbox.some(({ id }) => id === first);
    const left = outbox.filter(({ after }) => after !== undefined && isGone(after));
    this.#beginWithNext(left.filter(({ temporary }) => !temporary));
    this.#beginWithNext(left.filter(({ temporary }) => temporary));
  }

  /** Leaves what was restored where it is kept: somebody else has written it. */
  leaveRestored(): void {
    const left = new Set(this.#restored.map(({ id }) => id));
    for (const id of left) this.#own.delete(id);
    this.#restored = [];
    this.#keep([]);
    this.#store.setState(({ outbox }) => ({ outbox: outbox.filter(({ id }) => !left.has(id)) }));
  }

  add({ conversation, parent, content, options, temporary = false }: NewPending): Pending {
    const first = conversation === undefined ? this.#beginning(temporary) : undefined;
    const pending: Pending = {
      id: randomId(),
      ...(first && { after: first.id }),
      ...(conversation !== undefined && { conversation }),
      ...(parent !== undefined && { parent }),
      content,
      options,
      temporary,
      createdMs: Date.now(),
    };
    this.#set([...this.#store.getState().outbox, pending]);
    if (!first) this.#send(pending);
    return pending;
  }

  retry(id: string): void {
    const found = this.#store.getState().outbox.find((pending) => pending.id === id);
    if (!found) return;
    const { error: _error, ...pending } = found;
    this.#set(this.#store.getState().outbox.map((other) => (other.id === id ? pending : other)));
    this.#send(pending);
  }

  /** Sends again what only the end of the connection has kept. */
  retryClosed(): void {
    for (const { id, error } of this.#store.getState().outbox) if (error?.code === "closed") this.retry(id);
  }

  /** Gives a message up. The next one of the same new conversation then begins it. */
  discard(id: string): void {
    this.#beginWithNext(this.#remove(id));
  }

  /** The first of these begins a new conversation, and the others wait for it. */
  #beginWithNext([next, ...others]: readonly Pending[]): void {
    if (!next) return;
    this.#send(this.#change(next.id, ({ after: _after, ...pending }) => pending));
    for (const other of others) this.#change(other.id, (pending) => ({ ...pending, after: next.id }));
  }

  /** The message that begins the new conversation which is being written. A temporary one is another one. */
  #beginning(temporary: boolean): Pending | undefined {
    return this.#store
      .getState()
      .outbox.find(
        ({ conversation, after, error, ...pending }) =>
          conversation === undefined && !after && !error && pending.temporary === temporary,
      );
  }

  /** Removes a message. Returns those that wait for it, in order. */
  #remove(id: string): Pending[] {
    const outbox = this.#store.getState().outbox.filter((pending) => pending.id !== id);
    this.#set(outbox);
    return outbox.filter(({ after }) => after === id);
  }

  #change(id: string, change: (pending: Pending) => Pending): Pending {
    const outbox = this.#store.getState().outbox.map((other) => (other.id === id ? change(other) : other));
    this.#set(outbox);
    return outbox.find((pending) => pending.id === id) as Pending;
  }

  #send(pending: Pending): void {
    const { id, conversation, parent, content, options, temporary } = pending;
    const sent = this.#client.send({
      id,
      ...(conversation !== undefined && { conversation }),
      ...(parent !== undefined && { parent }),
      content,
      ...(Object.keys(options).length > 0 && { options }),
      ...(temporary && { temporary }),
    });
    sent.then(
      (accepted) => {
        const waiting = this.#remove(id);
        const following = waiting.map(({ id }) =>
          this.#change(id, ({ after: _after, ...other }) => ({
            ...other,
            conversation: accepted.conversation,
            temporary: false,
          })),
        );
        this.#onTaken(pending, accepted);
        for (const other of following) this.#send(other);
      },
      (reason: unknown) => {
        const error = reason instanceof ChatError ? reason : new ChatError("internal", String(reason));
        const outbox = this.#store.getState().outbox;
        this.#set(outbox.map((other) => (other.id === id ? { ...other, error } : other)));
      },
    );
  }

  #set(outbox: readonly Pending[]): void {
    this.#store.setState({ outbox });
    for (const { id } of outbox) this.#own.add(id);
    this.#keep(outbox);
  }

  #keep(outbox: readonly Pending[]): void {
    const ofOthers = this.#kept().filter(({ id }) => !this.#own.has(id));
    const kept = [...ofOthers, ...outbox.map(toKept)];
    this.#storage.write(OUTBOX_KEY, kept.length > 0 ? kept : undefined);
  }

  #kept(): KeptPending[] {
    return this.#storage.read<KeptPending[]>(OUTBOX_KEY) ?? [];
  }
}

/** Whether a message is sent without the person's doing. */
export function isOnItsWay({ error }: Pending): boolean {
  return !error || error.code === "closed";
}

/** What only the end of the connection has kept is sent again by the next page. */
function toKept({ error, ...pending }: Pending): KeptPending {
  if (!error || error.code === "closed") return pending;
  return { ...pending, refused: { code: error.code, message: error.message } };
}

/** `crypto.randomUUID` is missing on pages without TLS. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
