/** The thread on a page whose server is the test: frames by a fake socket, HTTP by a table of conversations. */
import { act, render } from "@testing-library/react";
import { useRef } from "react";
import { vi } from "vitest";
import { PageContext } from "../../src/app/context";
import { ChatPage } from "../../src/app/page";
import { type Language, LanguageContext } from "../../src/app/words";
import type { Answered, Conversation, Message, ServerFrame } from "../../src/client";
import { Announcer } from "../../src/thread/Announcer";
import { LinkBanner } from "../../src/thread/LinkBanner";
import { Thread } from "../../src/thread/Thread";
import { FakeServer } from "../client/fakeServer";

/** An id that is made after those before it. */
export function id(number: number): string {
  return `01932c07-6c8a-7d3e-8a51-${String(number).padStart(12, "0")}`;
}

export const CHAT = id(0);

export function question(number: number, text: string, parent: string | null = null): Message {
  return {
    id: id(number),
    parent,
    role: "user",
    created_ms: 1_732_700_000_000,
    content: [{ type: "text", text }],
  };
}

export function answer(number: number, parent: string, answered: Partial<Answered> = {}): Message {
  const text = answered.text ?? `answer ${number}`;
  return {
    id: id(number),
    parent,
    role: "assistant",
    created_ms: 1_732_700_000_000,
    answer: { status: "done", text, position: text.length, options: {}, ...answered },
  };
}

/** A question and its answer as `count` turns, one after another. */
export function turns(count: number): Message[] {
  return Array.from({ length: count }, (_, at) => {
    const asked = 2 * at + 1;
    return [
      question(asked, `question ${asked}`, at === 0 ? null : id(asked - 1)),
      answer(asked + 1, id(asked)),
    ];
  }).flat();
}

export class FakeHttp {
  readonly chats = new Map<string, { record: Conversation; messages: Message[] }>();
  /** The reply in the place of the right one, by path. */
  readonly failures = new Map<string, { status: number; code: string }>();
  readonly asked: string[] = [];
  /** Nothing is answered before it. */
  gate: Promise<void> = Promise.resolve();
  pageSize = 100;

  has(messages: Message[], record: Partial<Conversation> = {}): void {
    const leaf = messages.at(-1)?.id;
    this.chats.set(CHAT, {
      messages,
      record: {
        id: CHAT,
        title: "A chat",
        created_ms: 0,
        updated_ms: 0,
        revision: 1,
        temporary: false,
        pinned: false,
        ...(leaf !== undefined && { leaf }),
        ...record,
      },
    });
  }

  readonly fetch = async (url: URL | string): Promise<Response> => {
    const { pathname, searchParams } = new URL(url);
    const path = pathname.replace(/^.*\/api\/v1\//, "");
    this.asked.push(path);
    await this.gate;
    const failure = this.failures.get(path);
    if (failure) {
      const body = { error: { code: failure.code, message: failure.code } };
      return Response.json(body, { status: failure.status });
    }
    const [folder, conversation, part] = path.split("/");
    if (folder === "conversations" && conversation === undefined) return Response.json({ conversations: [] });
    const found = this.chats.get(conversation ?? "");
    if (path === "me") return Response.json({ id: "u1" });
    if (!found) return Response.json({ error: { code: "not_found", message: "" } }, { status: 404 });
    if (part !== "messages") return Response.json(found.record);
    const before = searchParams.get("before");
    const there = found.messages.filter((message) => before === null || message.id < before);
    const messages = there.slice(-this.pageSize);
    const next = there.length > messages.length ? messages[0]?.id : undefined;
    return Response.json({ messages, ...(next !== undefined && { next }) });
  };
}

/** Paints at once: no test waits for a frame. */
function stubBrowser(http: FakeHttp): void {
  FakeServer.all = [];
  vi.stubGlobal("WebSocket", FakeServer);
  vi.stubGlobal("fetch", http.fetch);
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => {
    queueMicrotask(run);
    return 0;
  });
  // A test that looks at how rows come has its own.
  if (typeof requestIdleCallback === "function") return;
  vi.stubGlobal("requestIdleCallback", (run: () => void) => {
    queueMicrotask(run);
    return 0;
  });
  vi.stubGlobal("cancelIdleCallback", () => {});
}

export interface Shown {
  page: ChatPage;
  http: FakeHttp;
  /** Sends frames and waits until they are painted. */
  says(...frames: ServerFrame[]): Promise<void>;
  /** Lets everything that has its answer go on. */
  settle(): Promise<void>;
  scrolledToEnd: () => number;
}

export interface ShowOptions {
  http?: FakeHttp;
  language?: Language;
  /** Opens the conversation of `http`. */
  open?: boolean;
  connected?: boolean;
}

export async function show({
  http = new FakeHttp(),
  language = "en",
  open = http.chats.size > 0,
  connected = true,
}: ShowOptions = {}): Promise<Shown> {
  stubBrowser(http);
  localStorage.clear();
  const page = new ChatPage({ api: new URL("http://gateway/api/v1/") });
  page.setPreferences({ language });
  const toEnd = vi.fn();
  const end = page.start();
  render(
    <LanguageContext value={language}>
      <PageContext value={page}>
        <Frame toEnd={toEnd} />
      </PageContext>
    </LanguageContext>,
  );
  const settle = () => act(async () => flush());
  if (connected) await act(async () => FakeServer.last.welcomes());
  if (open) await act(async () => page.open(CHAT));
  await settle();
  cleanups.push(end);
  return {
    page,
    http,
    says: (...frames) =>
      act(async () => {
        FakeServer.last.says(...frames);
        await flush();
      }),
    settle,
    scrolledToEnd: () => toEnd.mock.calls.length,
  };
}

const cleanups: (() => void)[] = [];

/** Ends what `show` has begun. To be called after each test. */
export function cleanUp(): void {
  for (const end of cleanups.splice(0)) end();
}

function Frame({ toEnd }: { toEnd: () => void }) {
  const scroller = useRef<HTMLDivElement>(null);
  return (
    <div className="corral" ref={scroller}>
      <Thread scroller={scroller} toEnd={toEnd} />
      <LinkBanner />
      <div className="composer">
        <textarea />
      </div>
      <Announcer />
    </div>
  );
}

/** A fetch and what follows it are a few microtasks; the reducer's frames one more. */
async function flush(): Promise<void> {
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  for (let turn = 0; turn < 30; turn += 1) await Promise.resolve();
}
