/** A gateway at the wire: HTTP from memory, and a WebSocket that speaks when the test says so. */
import { vi } from "vitest";
import { ChatPage, type ChatPageOptions } from "../../src/app/page";
import type { Conversation, Folder, Found, Message } from "../../src/client";
import { FakeServer } from "../client/fakeServer";

export const API = new URL("https://chat.example/api/v1/");

export function conversation(id: string, more: Partial<Conversation> = {}): Conversation {
  return {
    id,
    title: `Title ${id}`,
    created_ms: 0,
    updated_ms: Date.now(),
    revision: 1,
    temporary: false,
    pinned: false,
    ...more,
  };
}

export class FakeGateway {
  conversations: Conversation[];
  deleted: Conversation[] = [];
  messages: Record<string, Message[]> = {};
  /** How many messages a page has. */
  pageSize = 50;
  found: Found[] = [];
  /** Requests in order, as in `GET conversations?limit=50`. */
  readonly asked: string[] = [];
  readonly bodies: unknown[] = [];
  /** While set, every request is answered with this error. */
  failsWith: string | undefined;
  /** While set, answers wait for it; they then say what was true when they were asked for. */
  gate: Promise<void> | undefined;

  constructor(...conversations: Conversation[]) {
    this.conversations = conversations;
    FakeServer.all = [];
    vi.stubGlobal("WebSocket", WelcomingServer);
    vi.stubGlobal("fetch", (url: URL, init: RequestInit) => this.#answer(url, init));
  }

  page(options: Partial<ChatPageOptions> = {}): ChatPage {
    const page = new ChatPage({ api: API, storage: new Map() as unknown as Storage, ...options });
    // HTTP waits for the first connection.
    page.client.connect();
    return page;
  }

  async #answer(url: URL, { method = "GET", body }: RequestInit): Promise<Response> {
    const path = url.href.slice(API.href.length);
    this.asked.push(`${method} ${path}`);
    if (body) this.bodies.push(JSON.parse(String(body)));
    const response =
      this.failsWith === undefined
        ? this.#route(method, url, path, body ? JSON.parse(String(body)) : undefined)
        : refusal(this.failsWith, 500);
    await this.gate;
    return response;
  }

  #route(method: string, url: URL, path: string, body: object | undefined): Response {
    const [collection, id = "", what] = path.split(/[/?]/);
    if (collection === "search") return Response.json({ found: this.found });
    if (collection === "folders") return Response.json({ folders: this.#folders() });
    if (method === "GET" && !path.startsWith("conversations/")) return this.#list(url.searchParams);
    if (id === "import") {
      const imported = conversation("imported");
      this.conversations.push(imported);
      return Response.json(imported);
    }
    if (what === "restore") return this.#restore(id);
    const known = this.conversations.find((conversation) => conversation.id === id);
    if (!known) return refusal("not_found", 404);
    if (what === "messages") return this.#messages(id, url.searchParams.get("before"));
    if (what === "export") return Response.json({ corral_export: 1, conversation: known, messages: [] });
    if (method === "DELETE") {
      this.deleted.push(known);
      this.conversations = this.conversations.filter((other) => other !== known);
      return new Response(null, { status: 204 });
    }
    if (method === "PATCH") change(known, body ?? {});
    return Response.json(known);
  }

  #list(query: URLSearchParams): Response {
    const limit = Number(query.get("limit"));
    const from = Number(query.get("before") ?? 0);
    const end = from + limit;
    const wanted = query.get("folder");
    const all = this.conversations.filter(({ folder }) => wanted === null || folder === wanted);
    const conversations = all.slice(from, end);
    const next = end < all.length ? `${end}` : undefined;
    return Response.json({ conversations, next });
  }

  #messages(conversation: string, before: string | null): Response {
    const all = this.messages[conversation] ?? [];
    const there = all.filter(({ id }) => before === null || id < before);
    const messages = there.slice(-this.pageSize);
    const next = messages.length < there.length ? messages[0]?.id : undefined;
    return Response.json({ messages, next });
  }

  #folders(): Folder[] {
    const names = new Set(this.conversations.flatMap(({ folder }) => folder ?? []));
    const count = (name: string) => this.conversations.filter(({ folder }) => folder === name).length;
    return [...names].map((name) => ({ name, conversations: count(name) }));
  }

  #restore(id: string): Response {
    const found = this.deleted.find((conversation) => conversation.id === id);
    if (!found) return refusal("not_found", 404);
    this.conversations.push(found);
    return Response.json(found);
  }
}

/** Connects by itself. */
class WelcomingServer extends FakeServer {
  constructor(url: string, protocol: string) {
    super(url, protocol);
    queueMicrotask(() => this.welcomes());
  }
}

/** `null` takes a field away. */
function change(known: Conversation, patch: object): void {
  Object.assign(known, patch);
  if ("folder" in patch && patch.folder === null) delete known.folder;
}

function refusal(code: string, status: number): Response {
  return Response.json({ error: { code, message: code, type: "" } }, { status });
}
