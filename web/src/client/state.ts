/**
 * Conversations, messages and answers as a pure function of what came: frames of version 2, what HTTP gave, and what
 * this client asked for. Holds no socket, clock or random number. Only `done` with status `done` makes an answer whole.
 *
 * A position counts the bytes of an answer. A delta that ends at `position` therefore begins at `position` less its own
 * bytes. Text that an answer has already, from HTTP or from before a reconnect, is never added twice.
 */
import type {
  Accepted,
  Answered,
  AnswerStatus,
  ClientFrame,
  ContentPart,
  Conversation,
  Message,
  MessageContent,
  Model,
  ServerFrame,
  Welcome,
} from "./protocol";
import type { Link } from "./socket";

type Frame<T extends ServerFrame["type"]> = Extract<ServerFrame, { type: T }>;

/** One answer. `reasoning` and `text` are what there is of it so far. */
export interface Answer extends Omit<Answered, "reasoning"> {
  id: string;
  /** Missing while only its frames are known: another tab has begun it. */
  conversation?: string;
  reasoning: string;
  /** What the model does for it now; missing before it does, and after the end. */
  stage?: Frame<"queued"> | Frame<"progress">;
  /** How much of text and thoughts the server still has, in UTF-16 units, when this client kept more. */
  kept?: { text: number; reasoning: number };
}

/** One conversation, as far as this client knows it. */
export interface Chat {
  id: string;
  /** What HTTP says of it; missing before it was loaded. */
  record?: Conversation;
  /** The revision that `messages` shows. */
  revision: number;
  /** The newest revision that was heard of. If it is larger, load the conversation again. */
  latest: number;
  /** Where a message without `parent` goes on. */
  leaf?: string;
  /** The tree, without answers' texts: these are in `ChatState.answers`. Its order means nothing. */
  messages: ReadonlyMap<string, Message>;
  deleted: boolean;
}

export interface ChatState {
  link: Link;
  /** Who is signed in, the limits, and the model as it is now. Missing before the first connection. */
  welcome?: Welcome;
  chats: ReadonlyMap<string, Chat>;
  answers: ReadonlyMap<string, Answer>;
}

/** What changes the state besides frames. */
export type LocalEvent =
  | { type: "link"; link: Link }
  /** HTTP gave a conversation, and messages of it. `newest`: all its messages from the oldest of these on. */
  | { type: "loaded"; conversation: Conversation; messages: readonly Message[]; newest: boolean }
  | { type: "edited"; message: string; content: MessageContent }
  | { type: "dropped"; message: string }
  | { type: "forgotten"; conversation: string }
  /** From here on every change of the list is told. What changed before, only HTTP tells. */
  | { type: "list_watched" };

/** `accepted` says what was asked by its id alone, so the request comes with it. */
export type ChatEvent = ServerFrame | (Frame<"accepted"> & { request?: ClientFrame }) | LocalEvent;

export const emptyState: ChatState = {
  link: { name: "closed", code: 1000, reason: "" },
  chats: new Map(),
  answers: new Map(),
};

export function reduce(state: ChatState, event: ChatEvent): ChatState {
  switch (event.type) {
    case "link":
      return { ...state, link: event.link };
    case "welcome":
      return { ...state, welcome: event };
    case "model":
      return state.welcome ? { ...state, welcome: { ...state.welcome, model: event as Model } } : state;
    case "accepted":
      return accept(state, event, "request" in event ? event.request : undefined);
    case "queued":
    case "progress":
      return withAnswer(state, event.answer, (answer) => ({ ...again(answer), stage: event }));
    case "context":
      return withAnswer(state, event.answer, (answer) => ({
        ...answer,
        context: { left_out: event.left_out, used: event.used, size: event.size },
      }));
    case "delta":
      return withAnswer(state, event.answer, (answer) => append(answer, event));
    case "snapshot":
      return withAnswer(state, event.answer, (answer) => ({
        ...replace(answer, event.position, event.text, event.reasoning ?? ""),
        status: event.status,
      }));
    case "done":
      return done(state, event);
    case "changed":
      return withChat(state, event.conversation, (chat) => ({
        ...chat,
        latest: Math.max(chat.latest, event.revision),
        deleted: event.what === "deleted" || (chat.deleted && event.revision <= chat.latest),
      }));
    case "loaded":
      return load(state, event.conversation, event.messages, event.newest);
    case "edited":
      return withMessage(state, event.message, (message) => ({ ...message, content: parts(event.content) }));
    case "dropped":
      return drop(state, event.message);
    case "forgotten":
      return forget(state, event.conversation);
    default:
      // `list`, `ok`, `pong`, `error`, `goodbye`, and types of later versions.
      return state;
  }
}

/** Whether nothing more comes of an answer, unless it is continued. */
export function isFinal(status: AnswerStatus): boolean {
  return status !== "waiting" && status !== "running";
}

/** Whether the conversation has changed in a way that only HTTP tells. */
export function isStale(chat: Chat): boolean {
  return chat.latest > chat.revision;
}

/** The messages from the root to `leaf`, or to the newest. Begins in the middle when older ones are not loaded. */
export function branch(chat: Chat, leaf: string | undefined = chat.leaf): Message[] {
  const found: Message[] = [];
  let message = leaf === undefined ? undefined : chat.messages.get(leaf);
  while (message) {
    found.push(message);
    message = message.parent === null ? undefined : chat.messages.get(message.parent);
  }
  return found.reverse();
}

/** The messages that follow `parent`, oldest first: the versions of one place in the conversation. */
export function versions(chat: Chat, parent: string | null): Message[] {
  const found = [...chat.messages.values()].filter((message) => message.parent === parent);
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** The answers of a conversation that have not ended. */
export function openAnswers(state: ChatState, conversation: string): Answer[] {
  return [...state.answers.values()].filter(
    (answer) => answer.conversation === conversation && !isFinal(answer.status),
  );
}

function accept(state: ChatState, accepted: Accepted, request: ClientFrame | undefined): ChatState {
  const { conversation, answer: id, message: question, revision, options } = accepted;
  const known = state.answers.get(id);
  const waits = openAnswers(state, conversation).some((answer) => answer.id !== id);
  const continues = request?.type === "continue";
  let answer: Answer = { ...(known ?? unknownAnswer(id)), conversation, options };
  if (continues) answer = again(answer);
  if (!known) answer.status = waits ? "waiting" : "running";
  const next = withChat(put(state, answer), conversation, (chat) => {
    const messages = new Map(chat.messages);
    if (request?.type === "send" && !messages.has(question)) {
      const parent = request.parent !== undefined ? request.parent : (chat.leaf ?? null);
      const content = parts(request.content);
      messages.set(question, { id: question, parent, role: "user", created_ms: time(question), content });
    }
    if (!messages.has(id)) {
      messages.set(id, { id, parent: question, role: "assistant", created_ms: time(id) });
    }
    return { ...chat, messages, leaf: id };
  });
  // A new conversation has nothing that this client does not know.
  const whole = request?.type === "send" && request.conversation === undefined && !accepted.duplicate;
  return withRevision(next, conversation, revision, whole);
}

function done(state: ChatState, frame: Frame<"done">): ChatState {
  const { type: _type, answer: id, position, revision, ...end } = frame;
  const conversation = state.answers.get(id)?.conversation;
  const next = withAnswer(state, id, (answer) => {
    // Some of it is missing: it must not look whole before the rest has come.
    if (answer.position < position) return answer;
    const { stage: _stage, ...rest } = again(answer);
    return asServed({ ...rest, ...end });
  });
  return conversation === undefined ? next : withRevision(next, conversation, revision, false);
}

function load(
  state: ChatState,
  record: Conversation,
  loaded: readonly Message[],
  newest: boolean,
): ChatState {
  const known = state.chats.get(record.id) ?? unknownChat(record.id);
  // An answer to an older question than the last one.
  if (newest && record.revision < known.revision) return state;
  const messages = new Map(known.messages);
  const answers = new Map(state.answers);
  if (newest && record.revision >= known.latest) {
    const oldest = loaded[0]?.id ?? "";
    const there = new Set(loaded.map((message) => message.id));
    for (const id of known.messages.keys()) {
      if (id < oldest || there.has(id)) continue;
      messages.delete(id);
      answers.delete(id);
    }
  }
  for (const { answer, ...message } of loaded) {
    messages.set(message.id, message);
    if (answer) answers.set(message.id, merge(answers.get(message.id), message.id, record.id, answer));
  }
  const chats = new Map(state.chats);
  const { leaf } = record;
  chats.set(record.id, {
    ...known,
    ...(newest && { record, revision: record.revision, latest: Math.max(known.latest, record.revision) }),
    ...(newest && leaf !== undefined && { leaf }),
    // It was brought back; what was fetched before it was deleted is older.
    ...(newest && record.revision > known.latest && { deleted: false }),
    messages,
  });
  return { ...state, chats, answers };
}

/** What is kept of an answer, together with what this client has of it. */
function merge(known: Answer | undefined, id: string, conversation: string, stored: Answered): Answer {
  const { text, reasoning = "", position, ...rest } = stored;
  const answer = known ?? unknownAnswer(id);
  // Of a running answer the server may show less than it has sent.
  const written =
    position < answer.position && !isFinal(stored.status)
      ? answer
      : replace(answer, position, text, reasoning);
  const { kept, stage, context } = written;
  return asServed({
    id,
    conversation,
    text: written.text,
    reasoning: written.reasoning,
    position: written.position,
    ...(context && { context }),
    ...rest,
    ...(kept && { kept }),
    ...(stage && !isFinal(stored.status) && { stage }),
  });
}

/** Adds a delta, or as much of it as is new. Text beyond a gap is not added: its position shows that. */
function append(answer: Answer, delta: Frame<"delta">): Answer {
  const { text = "", reasoning = "", position } = delta;
  const bytes = encoder.encode(text || reasoning);
  const had = answer.position - (position - bytes.length);
  if (position <= answer.position || had < 0) return answer;
  const piece = had === 0 ? text || reasoning : decoder.decode(bytes.subarray(had));
  // The server goes on from where it is itself.
  const next = cut(again(answer));
  if (text) next.text += piece;
  else next.reasoning += piece;
  return { ...next, position };
}

/** What the server has of an answer. */
function cut(answer: Answer): Answer {
  const { kept, ...rest } = answer;
  if (!kept) return rest;
  const text = rest.text.slice(0, kept.text);
  return { ...rest, text, reasoning: rest.reasoning.slice(0, kept.reasoning) };
}

/** A whole answer is as the server has it. One that broke off keeps what was seen of it. */
function asServed(answer: Answer): Answer {
  return answer.status === "done" ? cut(answer) : answer;
}

/** Puts other text in the place of what there is, unless there is more and it begins like it. */
function replace(answer: Answer, position: number, text: string, reasoning: string): Answer {
  const { kept: _kept, ...rest } = answer;
  const longer = answer.text.length > text.length || answer.reasoning.length > reasoning.length;
  if (longer && answer.text.startsWith(text) && answer.reasoning.startsWith(reasoning)) {
    return { ...rest, position, kept: { text: text.length, reasoning: reasoning.length } };
  }
  return { ...rest, position, text, reasoning };
}

/** An answer that runs, again if it had ended. */
function again(answer: Answer): Answer {
  if (answer.status === "running") return answer;
  const { finish_reason: _reason, error: _error, usage: _usage, timings: _timings, ...rest } = answer;
  return { ...rest, status: "running" };
}

/** Takes a waiting message back. What follows its answer then follows what it followed itself, as on the server. */
function drop(state: ChatState, id: string): ChatState {
  const chat = chatOf(state, id);
  if (!chat) return state;
  const answers = new Map(state.answers);
  const messages = new Map(chat.messages);
  const parent = chat.messages.get(id)?.parent ?? null;
  const gone = new Set([id, ...versions(chat, id).map((message) => message.id)]);
  for (const message of chat.messages.values()) {
    if (gone.has(message.id)) {
      messages.delete(message.id);
      answers.delete(message.id);
    } else if (message.parent !== null && gone.has(message.parent)) {
      messages.set(message.id, { ...message, parent });
    }
  }
  const { leaf, ...rest } = chat;
  const newLeaf = leaf !== undefined && gone.has(leaf) ? (parent ?? undefined) : leaf;
  const chats = new Map(state.chats);
  chats.set(chat.id, { ...rest, messages, ...(newLeaf !== undefined && { leaf: newLeaf }) });
  return { ...state, chats, answers };
}

function forget(state: ChatState, id: string): ChatState {
  const chats = new Map(state.chats);
  chats.delete(id);
  const answers = new Map([...state.answers].filter(([, answer]) => answer.conversation !== id));
  return { ...state, chats, answers };
}

/** Notes a change of which everything is known, if no other one is missing before it. */
function withRevision(state: ChatState, id: string, revision: number, whole: boolean): ChatState {
  return withChat(state, id, (chat) => ({
    ...chat,
    revision: whole || revision === chat.revision + 1 ? revision : chat.revision,
    latest: Math.max(chat.latest, revision),
  }));
}

function withAnswer(state: ChatState, id: string, change: (answer: Answer) => Answer): ChatState {
  const known = state.answers.get(id) ?? unknownAnswer(id);
  const answer = change(known);
  return answer === known ? state : put(state, answer);
}

function put(state: ChatState, answer: Answer): ChatState {
  return { ...state, answers: new Map(state.answers).set(answer.id, answer) };
}

function withChat(state: ChatState, id: string, change: (chat: Chat) => Chat): ChatState {
  const chat = change(state.chats.get(id) ?? unknownChat(id));
  return { ...state, chats: new Map(state.chats).set(id, chat) };
}

function withMessage(state: ChatState, id: string, change: (message: Message) => Message): ChatState {
  const chat = chatOf(state, id);
  const message = chat?.messages.get(id);
  if (!chat || !message) return state;
  const messages = new Map(chat.messages).set(id, change(message));
  return withChat(state, chat.id, (chat) => ({ ...chat, messages }));
}

function chatOf(state: ChatState, message: string): Chat | undefined {
  return [...state.chats.values()].find((chat) => chat.messages.has(message));
}

function unknownAnswer(id: string): Answer {
  return { id, status: "running", text: "", reasoning: "", position: 0, options: {} };
}

function unknownChat(id: string): Chat {
  return { id, revision: 0, latest: 0, messages: new Map(), deleted: false };
}

function parts(content: MessageContent): ContentPart[] {
  return typeof content === "string" ? [{ type: "text", text: content }] : content;
}

/** When an id was given, in milliseconds since 1970: the first 48 bits of a UUID of version 7. */
function time(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
