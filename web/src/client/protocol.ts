/**
 * The frames of version 2 of the chat protocol, and what the HTTP API shows of conversations.
 * Generated from the gateway's types by `cargo xtask contract --write`.
 */

/** What a client sends. */
export type ClientFrame =
  | ({ type: "hello" } & Hello)
  | ({ type: "send" } & Send)
  | ({ type: "regenerate" } & Regenerate)
  | ({ type: "continue" } & Aim)
  | ({ type: "stop" } & Aim)
  | ({ type: "edit_queued" } & EditQueued)
  | ({ type: "drop_queued" } & Aim)
  | ({ type: "watch" } & Watch)
  | ({ type: "unwatch" } & Unwatch)
  | ({ type: "watch_list" } & WatchList)
  | { type: "ping" };

/** What the server sends. */
export type ServerFrame =
  | ({ type: "welcome" } & Welcome)
  | ({ type: "accepted" } & Accepted)
  | {
      type: "queued";
      /** The answer. */
      answer: string;
      /** 1 is the next. */
      place: number;
      /** An estimate. */
      wait_seconds?: number;
    }
  | ({ type: "progress" } & AnswerProgress)
  | {
      type: "delta";
      /** The answer. */
      answer: string;
      /** The position after it. */
      position: number;
      /** A piece of its text. */
      text?: string;
      /** Or of the model's thoughts. */
      reasoning?: string;
    }
  | {
      type: "context";
      /** The answer. */
      answer: string;
      /** How many messages it is not shown. */
      left_out: number;
      /** Tokens of the prompt. */
      used: number;
      /** Tokens of the model's context. */
      size: number;
    }
  | ({ type: "done" } & Done)
  | {
      type: "snapshot";
      /** The answer. */
      answer: string;
      /** The position after it. */
      position: number;
      /** Its text. */
      text: string;
      /** The model's thoughts. */
      reasoning?: string;
      /** How far it is. */
      status: AnswerStatus;
    }
  | {
      type: "changed";
      /** Which. */
      conversation: string;
      /** Its revision now. */
      revision: number;
      /** What changed. */
      what: Change;
    }
  | ({ type: "list" } & ListNews)
  | ({ type: "model" } & Model)
  | ({ type: "error" } & RefusedFrame)
  | {
      type: "ok";
      /** The frame's id. */
      re: string;
    }
  | { type: "pong" }
  | {
      type: "goodbye";
      /** The close code that follows. */
      code: number;
      /** Why. */
      reason: string;
      /** When to connect again. */
      after_seconds?: number;
    };

/** A request was taken. */
export type Accepted = {
  /** The request's id. */
  re: string;
  /** The conversation. */
  conversation: string;
  /** Its revision now. */
  revision: number;
  /** The person's message. */
  message: string;
  /** Its answer. */
  answer: string;
  /** What it is asked with, after the server's limits. */
  options: AnswerOptions;
  /** The request was taken before; nothing was started. */
  duplicate?: boolean;
};

/** Something done to one message. */
export type Aim = {
  /** The client's own id of this request. */
  id: string;
  /** The message. */
  message: string;
};

/** What an answer is asked with. What is missing is as the operator set it. */
export type AnswerOptions = {
  /** The system prompt. */
  system?: string;
  /** 0 to 2. */
  temperature?: number;
  /** 0 to 1. */
  top_p?: number;
  /** At least 0. */
  top_k?: number;
  /** 0 to 1. */
  min_p?: number;
  /** At least 1, at most what the operator allows. */
  max_tokens?: number;
  /** For the same answer to the same prompt. */
  seed?: number;
  /** At most 4 strings that end the answer. */
  stop?: Array<string>;
  /** Whether a model that can think does. */
  thinking?: boolean;
};

/** Why an answer failed. */
export type AnswerProblem = {
  /** For programs. */
  code: ErrorCode;
  /** For people, in English. */
  message: string;
};

/** What the model does for an answer. */
export type AnswerProgress = {
  /** The answer. */
  answer: string;
  /** What is done. */
  phase: Phase;
  /** Tokens of the prompt that are read. */
  done?: number;
  /** Of so many. */
  total?: number;
  /** Of these, from the cache. */
  cached?: number;
};

/** How far an answer is. */
export type AnswerStatus = "waiting" | "running" | "done" | "stopped" | "interrupted" | "failed";

/** How long one answer took. */
export type AnswerTimings = {
  /** From the answer's turn to its first character, waiting for the model included, in milliseconds. */
  first_token_ms: number;
  /** From the first character to the last, in milliseconds. */
  writing_ms: number;
  /** The model's own speed, if it told it. */
  tokens_per_second?: number;
};

/** What is kept of one answer. */
export type Answered = {
  /** How far it is. */
  status: AnswerStatus;
  /** Its text; of a running one, as much as there was a moment ago. */
  text: string;
  /** The model's thoughts. */
  reasoning?: string;
  /** How much of it this is: to be handed to `watch`. */
  position: number;
  /** Of a whole one. */
  finish_reason?: FinishReason;
  /** Of a failed one. */
  error?: AnswerProblem;
  /** If the model counted. */
  usage?: TokenUsage;
  /** Once it began. */
  timings?: AnswerTimings;
  /** Once it was asked for. */
  context?: ContextUse;
  /** The positions at which another engine went on, because the one before was lost. An import does not keep them. */
  joints?: Array<number>;
  /** What it was asked with. */
  options: AnswerOptions;
};

/** Who wrote a message. */
export type Author = "user" | "assistant";

/** What changed in a conversation. */
export type Change = "title" | "messages" | "queue" | "deleted" | "settings";

/** One piece of a message's content. */
export type ContentPart =
  | {
      type: "text";
      /** The text, byte for byte. */
      text: string;
    }
  | {
      type: "image";
      /** `data:image/png;base64,...` */
      data_url: string;
    };

/** How much of the model's context the prompt of one answer took. */
export type ContextUse = {
  /** How many of the oldest messages the model was not shown. */
  left_out: number;
  /** Tokens of the prompt. */
  used: number;
  /** Tokens of the model's context. */
  size: number;
};

/** A conversation without its messages. */
export type Conversation = {
  /** Its id. */
  id: string;
  /** From its first words, unless somebody renamed it. */
  title: string;
  /** When it began. */
  created_ms: number;
  /** When it last changed. */
  updated_ms: number;
  /** Grows with every change that is kept. */
  revision: number;
  /** Not in the list, not found by search, and deleted after a day. */
  temporary: boolean;
  /** Kept at the top of the list. */
  pinned: boolean;
  /** The folder it is in. */
  folder?: string;
  /** The system prompt of its answers, if not the operator's. */
  system?: string;
  /** The newest message: where a `send` without `parent` goes on. */
  leaf?: string;
};

/** An answer has ended. */
export type Done = {
  /** The answer. */
  answer: string;
  /** Its end. */
  position: number;
  /** Only `done` means whole. */
  status: AnswerStatus;
  /** In which sense it is whole. */
  finish_reason?: FinishReason;
  /** If the model counted. */
  usage?: TokenUsage;
  /** Once it began. */
  timings?: AnswerTimings;
  /** Of a failed one. */
  error?: AnswerProblem;
  /** Where another engine went on, because the one before was lost. */
  joints?: Array<number>;
  /** The conversation's revision now. */
  revision: number;
};

/** Other words for a message that still waits. */
export type EditQueued = {
  /** The client's own id of this request. */
  id: string;
  /** The person's message. */
  message: string;
  /** The new words. */
  content: MessageContent;
};

/** Why something was refused or failed. The page translates the code. */
export type ErrorCode =
  | "bad_request"
  | "unknown_type"
  | "unsupported_version"
  | "too_large"
  | "unauthenticated"
  | "not_found"
  | "conflict"
  | "busy"
  | "rate_limited"
  | "quota_exceeded"
  | "queue_full"
  | "queue_timeout"
  | "model_loading"
  | "upstream_unavailable"
  | "upstream_timeout"
  | "upstream_error"
  | "context_too_long"
  | "unsupported_content"
  | "storage_unavailable"
  | "shutting_down"
  | "internal";

/** Why a whole answer ended. */
export type FinishReason = "stop" | "length" | "tool_calls";

/** How much of an answer a client has. */
export type HeldAnswer = {
  /** The answer. */
  message: string;
  /** The last position it was given. */
  position: number;
};

/** The first frame. */
export type Hello = {
  /** 2. */
  version: number;
  /** A one-time ticket from `POST /api/v1/ws/ticket`, for a client that can send no cookie. */
  ticket?: string;
  /** The person's language, as in `zh-CN`. */
  locale?: string;
};

/** What is refused beyond. */
export type Limits = {
  /** The largest frame. */
  message_bytes: number;
  /** The largest image inside a frame. */
  image_bytes: number;
  /** Messages that may wait in one conversation. */
  queued: number;
  /** Messages that one user may send in a minute. */
  messages_per_minute?: number;
};

/** What happened to a conversation of the list. */
export type ListChange = "created" | "changed" | "deleted";

/** A conversation of the list changed. */
export type ListNews = {
  /** Which. */
  conversation: string;
  /** Its revision now, or its last one. */
  revision: number;
  /** What happened. */
  what: ListChange;
};

/** One message of a conversation's tree. */
export type Message = {
  /** Its id. */
  id: string;
  /** The message it follows; none at the root. */
  parent: string | null;
  /** Who wrote it. */
  role: Author;
  /** When it was sent, or its answer was asked for. */
  created_ms: number;
  /** What the person wrote; empty for an answer. */
  content?: Array<ContentPart>;
  /** The answer, for a message of the model's. */
  answer?: Answered;
};

/** A message's content as a client writes it: text, or parts. */
export type MessageContent = string | Array<ContentPart>;

/** The model that answers. */
export type Model = {
  /** Its name. */
  name: string;
  /** Its context in tokens, if known. */
  context?: number;
  /** Whether it reads images. */
  images: boolean;
  /** Whether it calls tools. */
  tools: boolean;
  /** Whether it would answer now. */
  state: ModelState;
};

/** Whether the model would answer now. */
export type ModelState = "ready" | "loading" | "unavailable";

/** What the options of an answer may be. Numbers beyond are brought into their range. */
export type OptionLimits = {
  /** The sampling temperature. */
  temperature: RealRange;
  /** Only the likeliest tokens that have so much probability together. */
  top_p: RealRange;
  /** Only so many of the likeliest tokens; 0: all. */
  top_k: WholeRange;
  /** Only tokens that have so much of the likeliest one's probability. */
  min_p: RealRange;
  /** The longest answer, in tokens. */
  max_tokens: WholeRange;
  /** The longest system prompt. */
  system_bytes: number;
  /** Strings that end an answer. */
  stops: number;
  /** The longest of them; a longer one is not used. */
  stop_bytes: number;
  /** Whether `thinking` may be chosen. A model that cannot think ignores it. */
  thinking: boolean;
};

/** Who is signed in. */
export type Person = {
  /** Opaque. */
  id: string;
  /** As the app or the proxy in front names them. */
  name?: string;
};

/** What is done for an answer. */
export type Phase = "loading" | "prompt" | "thinking" | "writing";

/** The range of a number. */
export type RealRange = {
  /** The least. */
  min: number;
  /** The most. */
  max: number;
  /** What it is when nobody chooses; missing: the model's own. */
  default?: number;
};

/** A frame was refused. */
export type RefusedFrame = {
  /** The frame's id, if it had one. */
  re?: string;
  /** For programs. */
  code: ErrorCode;
  /** For people, in English. */
  message: string;
  /** When to try again. */
  retry_after_seconds?: number;
};

/** Another answer beside one. */
export type Regenerate = {
  /** The client's own id of this request. */
  id: string;
  /** The answer. */
  message: string;
  /** How to answer. */
  options?: AnswerOptions;
};

/** A message to answer. */
export type Send = {
  /** The client's own id of this request: the same one again starts nothing. */
  id: string;
  /** None begins a conversation. */
  conversation?: string;
  /** The message it follows. Missing: the newest. `null`: none, at the root. */
  parent?: string | null;
  /** What the person wrote. */
  content: MessageContent;
  /** How to answer. */
  options?: AnswerOptions;
  /** What to do while an answer runs. */
  when_busy?: WhenBusy;
  /** For a new conversation: keep it out of the list, and for a day only. */
  temporary?: boolean;
};

/** Tokens of one answer, as the model counted them. */
export type TokenUsage = {
  /** Tokens of the prompt. */
  prompt_tokens: number;
  /** Of these, tokens that the model still had in its cache. */
  cached_tokens: number;
  /** Tokens of the answer, thoughts included. */
  completion_tokens: number;
};

/** No longer tell of a conversation. */
export type Unwatch = {
  /** The client's own id of this request. */
  id: string;
  /** Which. */
  conversation: string;
};

/** Wish to be told of a conversation. */
export type Watch = {
  /** The client's own id of this request. */
  id: string;
  /** Which. */
  conversation: string;
  /** What the client has of answers that may go on. */
  answers?: Array<HeldAnswer>;
};

/** Wish to be told of the list of conversations. */
export type WatchList = {
  /** The client's own id of this request. */
  id: string;
};

/** The reply to `hello`. */
export type Welcome = {
  /** 2. */
  version: number;
  /** Who is signed in. */
  user: Person;
  /** The server pings after so much silence. */
  heartbeat_seconds: number;
  /** What is refused beyond. */
  limits: Limits;
  /** What the options of an answer may be. */
  options: OptionLimits;
  /** The model that answers. */
  model: Model;
  /** What this gateway can do beyond version 2. */
  features: Array<string>;
};

/** What a `send` does while an answer of its conversation runs. */
export type WhenBusy = "queue" | "reject";

/** The range of a whole number. */
export type WholeRange = {
  /** The least. */
  min: number;
  /** The most. */
  max: number;
  /** What it is when nobody chooses; missing: the model's own. */
  default?: number;
};
