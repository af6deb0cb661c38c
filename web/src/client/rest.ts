/**
 * What is not live: the list, search, and everything that is done to a whole conversation, over HTTP. docs/openapi.json
 * describes each route. Keeps nothing; `loadInto` brings a conversation into a `ChatClient`.
 */
import { type ChatClient, ChatError } from "./client";
import type { Conversation, ErrorCode, Message, MessageContent, Model, Person } from "./protocol";

/** A page of the list: pinned ones first, the last changed first among each. `next` is the `before` of the next page. */
export type ConversationPage = { conversations: Conversation[]; next?: string };
/** A page of messages, oldest first, all branches. `next` is the `before` of the page of older ones. */
export type MessagePage = { messages: Message[]; next?: string };
/** Something that search found. Without `message` it is the title. */
export type Found = { conversation: string; title: string; message?: string; excerpt: string };
/** A whole conversation, as export writes it and import reads it. */
export type Exported = { corral_export: number; conversation: Conversation; messages: Message[] };
export type NewConversation = {
  title?: string;
  system?: string;
  folder?: string;
  pinned?: boolean;
  temporary?: boolean;
};
/** What to change. What is missing stays; `null` takes away. */
export type ConversationPatch = {
  title?: string;
  pinned?: boolean;
  folder?: string | null;
  system?: string | null;
};
export type SocketTicket = { ticket: string; expires_in_seconds: number };
/** Where a page begins, and how long it is: 1 to 100. */
export type PageQuery = { before?: string; limit?: number };
export type ListQuery = PageQuery & { folder?: string };
export type Folder = { name: string; conversations: number };

export interface RestOptions {
  /** The address of the API, as in `https://example.com/api/v1/`. */
  base: string | URL;
  /** Header fields of each request, as in `{ authorization: "Bearer ..." }`. Cookies are sent anyway. */
  headers?: () => Record<string, string> | Promise<Record<string, string>>;
  /** Missing: the browser's. */
  fetch?: typeof fetch;
}

/** The HTTP API of one gateway. Everything rejects with a `ChatError`. */
export class ChatRest {
  readonly #options: RestOptions;

  constructor(options: RestOptions) {
    this.#options = options;
  }

  me(): Promise<Person> {
    return this.#ask("GET", "me");
  }

  /** A one-time ticket, to be handed to `ChatClient`. */
  async ticket(): Promise<string> {
    const { ticket } = await this.#ask<SocketTicket>("POST", "ws/ticket");
    return ticket;
  }

  async models(): Promise<Model[]> {
    const { models } = await this.#ask<{ models: Model[] }>("GET", "models");
    return models;
  }

  /** The tokens of a message that is not sent yet, as the model counts them. */
  async countTokens(content: MessageContent): Promise<number> {
    const { tokens } = await this.#ask<{ tokens: number }>("POST", "tokens", { content });
    return tokens;
  }

  /** With `folder`, only the conversations in it. */
  list(page: ListQuery = {}): Promise<ConversationPage> {
    return this.#ask("GET", `conversations${query(page)}`);
  }

  /** By name. A folder exists as long as a conversation is in it. */
  async folders(): Promise<Folder[]> {
    const { folders } = await this.#ask<{ folders: Folder[] }>("GET", "folders");
    return folders;
  }

  /** Titles and messages that contain every word. */
  async search(q: string, limit?: number): Promise<Found[]> {
    const { found } = await this.#ask<{ found: Found[] }>("GET", `search${query({ q, limit })}`);
    return found;
  }

  /** Makes an empty conversation. A message without `conversation` makes one, too. */
  create(conversation: NewConversation = {}): Promise<Conversation> {
    return this.#ask("POST", "conversations", conversation);
  }

  get(conversation: string): Promise<Conversation> {
    return this.#ask("GET", path(conversation));
  }

  messages(conversation: string, page: PageQuery = {}): Promise<MessagePage> {
    return this.#ask("GET", `${path(conversation)}/messages${query(page)}`);
  }

  change(conversation: string, patch: ConversationPatch): Promise<Conversation> {
    return this.#ask("PATCH", path(conversation), patch);
  }

  /** `restore` brings it back within a minute. */
  delete(conversation: string): Promise<void> {
    return this.#ask("DELETE", path(conversation));
  }

  /** Brings back what was deleted in the last minute; later it is `not_found`. Then `loadInto` and `watch` it again. */
  restore(conversation: string): Promise<Conversation> {
    return this.#ask("POST", `${path(conversation)}/restore`);
  }

  /** Deletes all conversations of this user for good. Returns how many there were. */
  async deleteAll(): Promise<number> {
    const { deleted } = await this.#ask<{ deleted: number }>("DELETE", "conversations?all=true");
    return deleted;
  }

  export(conversation: string): Promise<Exported> {
    return this.#ask("GET", `${path(conversation)}/export`);
  }

  /** The newest branch, to be read. */
  async exportMarkdown(conversation: string): Promise<string> {
    const response = await this.#fetch("GET", `${path(conversation)}/export?format=markdown`);
    return response.text();
  }

  /** Brings an exported conversation back, under new ids. */
  import(document: Exported): Promise<Conversation> {
    return this.#ask("POST", "conversations/import", document);
  }

  /**
   * Fetches a conversation and its newest messages, or those before another one, into a client's state. Returns the
   * `before` of the page of older messages, if there are any.
   */
  async loadInto(client: ChatClient, conversation: string, before?: string): Promise<string | undefined> {
    // In this order: messages may then be newer than the revision says, never older.
    const record = await this.get(conversation);
    const { messages, next } = await this.messages(conversation, before === undefined ? {} : { before });
    client.load(record, messages, { older: before !== undefined });
    return next;
  }

  async #ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.#fetch(method, path, body);
    if (response.status === 204) return undefined as T;
    return response.json().catch((error) => {
      throw new ChatError("unreachable", String(error));
    });
  }

  async #fetch(method: string, path: string, body?: object): Promise<Response> {
    const { base, headers, fetch = globalThis.fetch } = this.#options;
    const init: RequestInit = { method, credentials: "include", headers: { ...(await headers?.()) } };
    if (body) {
      init.headers = { ...init.headers, "content-type": "application/json" };
      init.body = JSON.stringify(body);
    }
    const response = await fetch(new URL(path, base), init).catch((error) => {
      throw new ChatError("unreachable", String(error));
    });
    if (!response.ok) throw await problem(response);
    return response;
  }
}

function path(conversation: string): string {
  return `conversations/${encodeURIComponent(conversation)}`;
}

function query(fields: Record<string, string | number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length === 0
    ? ""
    : `?${new URLSearchParams(given.map(([name, value]) => [name, `${value}`]))}`;
}

/**
 * What the gateway says of a failure. What something before it says counts as not getting through, but a login before the
 * gateway answers 401 as the gateway would.
 */
async function problem(response: Response): Promise<ChatError> {
  const after = Number(response.headers.get("retry-after")) || undefined;
  try {
    const { error } = (await response.json()) as { error: { code: ErrorCode; message: string } };
    return new ChatError(error.code, error.message, after);
  } catch {
    const code = response.status === 401 ? "unauthenticated" : "unreachable";
    return new ChatError(code, `HTTP ${response.status}`, after);
  }
}
