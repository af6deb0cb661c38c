/**
 * What the page knows besides conversations and answers, which `ChatState` holds: the list, what is open, what is being
 * written, and what is on its way.
 */
import type { AnswerOptions, ChatError, ChatState, ContentPart, Conversation } from "../client";
import { emptyState } from "../client";
import type { Preferences } from "./preferences";

/** A file or an image that goes with a message. `tokens` is its cost as the model counts, once known. */
export type Attachment =
  | { id: string; kind: "text"; name: string; text: string; tokens?: number }
  | { id: string; kind: "image"; name: string; dataUrl: string; tokens?: number }
  /** Being read; of a PDF, `done` of `total` pages are. */
  | { id: string; kind: "reading"; name: string; done?: number; total?: number }
  /** It cannot go with a message. */
  | { id: string; kind: "refused"; name: string; problem: FileProblem };

/** Why a file cannot go with a message. */
export type FileProblem =
  | "empty"
  | "unreadable"
  /** The part of the page that reads it could not be fetched. */
  | "not_loaded"
  | "too_large"
  | "binary"
  | "encoding"
  | "office"
  | "archive"
  | "no_images"
  | "image_broken"
  | "image_too_large"
  | "pdf_broken"
  | "pdf_password"
  | "pdf_no_text";

/** What is being written to one conversation. */
export interface Draft {
  text: string;
  attachments: readonly Attachment[];
}

/** A message that the server has not taken yet. */
export interface Pending {
  /** The request's id: the server takes it once, however often it is sent. */
  id: string;
  /** Missing: it begins one. */
  conversation?: string;
  /** It belongs to the conversation that this message begins, and is sent once the server has taken that one. */
  after?: string;
  /** The answer that it follows. Missing: the newest one. `null`: none. */
  parent?: string | null;
  content: ContentPart[];
  options: AnswerOptions;
  temporary: boolean;
  createdMs: number;
  /** Why the server did not take it. It is then sent again only when the person says so. */
  error?: ChatError;
}

/** The list in the side bar: pinned ones first, then the last changed. */
export interface ConversationList {
  conversations: readonly Conversation[];
  /** The `before` of the next page, if there are more. */
  next?: string;
  state: "loading" | "ready" | "failed";
}

/** A short message over the page, as after a delete. */
export interface Notice {
  id: string;
  text: string;
  action?: { label: string; run: () => void };
}

/** What lies over the page. */
export type Panel = "settings" | "shortcuts" | "search";

export interface PageState {
  /** The client's state as of the last frame that was painted. */
  chat: ChatState;
  list: ConversationList;
  /** The open conversation; none: a new one. */
  open?: string;
  /** Whether the open conversation has been fetched. */
  loading: boolean;
  /** Why the open conversation could not be fetched. */
  loadError?: ChatError;
  /** Whether the server wants somebody to sign in before it talks to this page. */
  signedOut: boolean;
  /** Whether a new conversation is a temporary one. */
  temporary: boolean;
  /** The last message of the branch that is shown, by conversation. Missing: the newest. */
  leaves: ReadonlyMap<string, string>;
  /** Conversations with older messages that are not loaded, and the `before` of the next page. */
  older: ReadonlyMap<string, string>;
  drafts: ReadonlyMap<string, Draft>;
  /** The person's message that is being edited in the open conversation. */
  editing?: string;
  outbox: readonly Pending[];
  /** Conversations in which an answer has ended while nobody looked. */
  unread: ReadonlySet<string>;
  preferences: Preferences;
  notices: readonly Notice[];
  /** What was last said to screen readers of something small, as of a copy. A new object is said again. */
  said?: { text: string };
  panel?: Panel;
  /** A message to scroll to as soon as it is drawn. */
  focusMessage?: string | undefined;
  /** Whether the chat is too narrow for a side bar beside the thread, as on a phone. */
  narrow: boolean;
  /** Whether the side bar lies over a narrow chat. */
  drawer: boolean;
}

/** The key of the draft of a conversation that does not exist yet. */
export const NEW = "new";

export const emptyDraft: Draft = { text: "", attachments: [] };

export function initialState(preferences: Preferences): PageState {
  return {
    chat: emptyState,
    list: { conversations: [], state: "loading" },
    loading: false,
    signedOut: false,
    temporary: false,
    leaves: new Map(),
    older: new Map(),
    drafts: new Map(),
    outbox: [],
    unread: new Set(),
    preferences,
    notices: [],
    narrow: false,
    drawer: false,
  };
}

/** A copy of a map with one entry set, or removed when `value` is missing. */
export function withEntry<V>(map: ReadonlyMap<string, V>, key: string, value: V | undefined): Map<string, V> {
  const copy = new Map(map);
  if (value === undefined) copy.delete(key);
  else copy.set(key, value);
  return copy;
}
