/**
 * The public face of the client: what a person can do as promises, and the state to show. Joins the socket to the state.
 * Keeps each request until it is answered, however often the socket breaks, and goes on watching what is watched.
 * Owns no text of its own and no view.
 */
import type {
  Accepted,
  AnswerOptions,
  ClientFrame,
  Conversation,
  ErrorCode,
  Message,
  MessageContent,
  Send,
  ServerFrame,
} from "./protocol";
import { ChatSocket, isTooBig, type Link, type SocketOptions } from "./socket";
import { type ChatEvent, type ChatState, emptyState, openAnswers, reduce } from "./state";

/** As many conversations as the server lets one socket watch. */
const MAX_WATCHED = 32;
/** For so long the server knows a request again, in milliseconds. */
const REQUESTS_KEPT_MS = 24 * 60 * 60 * 1000;
const WATCH_AGAIN_MS = 2000;

/**
 * `closed`: the connection has ended for good. `expired`: it was sent more than a day ago, and nobody knows any more
 * whether it arrived. `unreachable`: HTTP did not get through. The others come from the server; docs/protocol.md has
 * their table.
 */
export type ChatErrorCode = ErrorCode | "closed" | "expired" | "unreachable";

/** Why something was not done. `message` is English, for people; translate by `code`. */
export class ChatError extends Error {
  override readonly name = "ChatError";
  readonly code: ChatErrorCode;
  /** When it may be tried again. */
  readonly retryAfterSeconds: number | undefined;

  constructor(code: ChatErrorCode, message: string, retryAfterSeconds?: number) {
    super(message);
    this.code = code;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** A message to send. Give an `id` of your own to send it again, after a reload, without sending it twice. */
export type NewMessage = Omit<Send, "id"> & { id?: string };

/** Told of every new state, and of the frame or event that made it. */
export type Listener = (state: ChatState, event: ChatEvent) => void;

interface Request {
  /** Put together when it is sent: what is held of answers grows meanwhile. */
  frame: () => ClientFrame;
  resolve: (reply: Accepted | undefined) => void;
  reject: (error: ChatError) => void;
  sentAt?: number;
  bytes: number;
  /** It was sent on an earlier socket, too, and may have arrived. */
  again: boolean;
}

/**
 * A client of one gateway.
 *
 * ```ts
 * const client = new ChatClient({ url: "wss://example.com/api/v1/ws/chat" });
 * client.subscribe((state) => show(state));
 * client.connect();
 * const { conversation, answer } = await client.send({ content: "Hello" });
 * ```
 *
 * Requests can be made at any time. Without a connection they wait for one. A promise resolves when the server has taken
 * the request and kept it, and rejects with a `ChatError`; the answer itself comes through `state`.
 */
export class ChatClient {
  readonly #socket: ChatSocket;
  readonly #listeners = new Set<Listener>();
  /** Unanswered, in the order in which they were made. */
  readonly #requests = new Map<string, Request>();
  /** In the order in which the server drops them. */
  readonly #watched = new Set<string>();
  /** Conversations that are being watched again on this socket, and the requests' ids. */
  readonly #rejoining = new Map<string, string>();
  #watchesList = false;
  #state: ChatState = emptyState;

  constructor(options: SocketOptions) {
    this.#socket = new ChatSocket(options, {
      onLink: (link) => this.#follow(link),
      onFrame: (frame) => this.#receive(frame),
    });
  }

  /** The state now; the same object until something changes. */
  readonly getState = (): ChatState => this.#state;

  /** Calls `listener` at every change until the returned function is called. */
  readonly subscribe = (listener: Listener): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Connects, and stays connected. Also the way out of a link that is `closed`. */
  connect(): void {
    this.#socket.start();
  }

  /** Does not wait for the next attempt. Harmless while connected. */
  reconnectNow(): void {
    this.#socket.wake();
  }

  /** Ends the connection. Requests without a reply are rejected; answers run on at the server. */
  close(): void {
    this.#socket.stop();
  }

  /** Sends a message to be answered. */
  send(message: NewMessage): Promise<Accepted> {
    return this.#start((id) => ({ type: "send", ...message, id }), message.id);
  }

  /** Asks for another answer beside `answer`. */
  regenerate(answer: string, options?: AnswerOptions): Promise<Accepted> {
    return this.#start((id) => ({ type: "regenerate", id, message: answer, ...(options && { options }) }));
  }

  /** Goes on where `answer` was cut. */
  continue(answer: string): Promise<Accepted> {
    return this.#start((id) => ({ type: "continue", id, message: answer }));
  }

  /** Ends `answer`, running or waiting. Its `done` comes once the model is free. */
  async stop(answer: string): Promise<void> {
    await this.#ask((id) => ({ type: "stop", id, message: answer }));
  }

  /** Puts other words into a message of the person's that still waits. */
  async editQueued(message: string, content: MessageContent): Promise<void> {
    await this.#ask((id) => ({ type: "edit_queued", id, message, content }));
    this.#dispatch({ type: "edited", message, content });
  }

  /** Takes a message of the person's back that still waits. */
  async dropQueued(message: string): Promise<void> {
    await this.#ask((id) => ({ type: "drop_queued", id, message }));
    this.#dispatch({ type: "dropped", message });
  }

  /**
   * Asks to be told of everything in a conversation, now and after every reconnect. `load` what HTTP says of it first:
   * the server then goes on from there. Also when this rejects, it is asked for again later, unless there is no such
   * conversation.
   */
  async watch(conversation: string): Promise<void> {
    this.#noteWatched(conversation);
    const asked = this.#ask((id) => this.#watchFrame(id, conversation));
    await asked.catch((error: ChatError) => {
      if (error.code === "not_found") this.#watched.delete(conversation);
      else this.#watchLater(conversation, error);
      throw error;
    });
  }

  /** No longer. */
  async unwatch(conversation: string): Promise<void> {
    this.#watched.delete(conversation);
    await this.#ask((id) => ({ type: "unwatch", id, conversation }));
  }

  /**
   * Asks to be told which conversations of the list change, now and after every reconnect. Listeners get `list_watched`
   * each time the server has agreed: fetch the list then. From there on they get a `list` for each change.
   */
  async watchList(): Promise<void> {
    this.#watchesList = true;
    await this.#ask((id) => ({ type: "watch_list", id }));
    this.#dispatch({ type: "list_watched" });
  }

  /**
   * Brings in what HTTP says of a conversation. Fetch the conversation first, then its messages. `older`: the messages are
   * a page before others that are loaded.
   */
  load(conversation: Conversation, messages: readonly Message[], { older = false } = {}): void {
    this.#dispatch({ type: "loaded", conversation, messages, newest: !older });
  }

  /** Takes a conversation out of the state, to save memory. Does not delete it. */
  forget(conversation: string): void {
    this.#dispatch({ type: "forgotten", conversation });
  }

  async #start(frame: (id: string) => ClientFrame, id?: string): Promise<Accepted> {
    return (await this.#ask(frame, id)) as Accepted;
  }

  #ask(frame: (id: string) => ClientFrame, id = randomId()): Promise<Accepted | undefined> {
    return new Promise((resolve, reject) => {
      const { link } = this.#state;
      if (link.name === "closed" && link.code !== 1000) {
        reject(closed(link.reason));
        return;
      }
      if (this.#requests.has(id)) {
        reject(new ChatError("conflict", "a request with this id waits for its reply"));
        return;
      }
      this.#requests.set(id, { frame: () => frame(id), resolve, reject, bytes: 0, again: false });
      if (link.name === "open") this.#send(id);
    });
  }

  #send(id: string): void {
    const request = this.#requests.get(id);
    if (!request) return;
    const frame = request.frame();
    request.bytes = new TextEncoder().encode(JSON.stringify(frame)).length;
    const most = this.#state.welcome?.limits.message_bytes ?? Number.POSITIVE_INFINITY;
    if (request.bytes > most) {
      this.#refuse(id, new ChatError("too_large", `a message holds at most ${most} bytes`));
      return;
    }
    request.again = request.sentAt !== undefined;
    request.sentAt ??= Date.now();
    this.#socket.send(frame);
  }

  #receive(frame: ServerFrame): void {
    const request = "re" in frame && frame.re !== undefined ? this.#requests.get(frame.re) : undefined;
    if (frame.type === "accepted") {
      this.#dispatch(request ? { ...frame, request: request.frame() } : frame);
      this.#noteWatched(frame.conversation);
      // Its answer may have ended while nobody listened, which only `watch` tells.
      if (frame.duplicate) this.#watchAgain(frame.conversation);
    } else {
      this.#dispatch(frame);
    }
    if (request) this.#settle(request, frame);
    if (frame.type === "welcome") this.#resume();
    if (frame.type === "delta" || frame.type === "done") {
      const answer = this.#state.answers.get(frame.answer);
      const isMissing = answer !== undefined && answer.position < frame.position;
      if (isMissing && answer.conversation !== undefined) this.#watchAgain(answer.conversation);
    }
  }

  #settle(request: Request, frame: ServerFrame): void {
    if (frame.type === "error") {
      // Nothing was begun. The server closes the socket soon, and the next one takes it.
      if (frame.code === "shutting_down") return;
      const isGone = frame.code === "not_found" && request.again && request.frame().type === "drop_queued";
      if (!isGone) {
        this.#refuse(frame.re, new ChatError(frame.code, frame.message, frame.retry_after_seconds));
        return;
      }
    }
    if ("re" in frame && frame.re !== undefined) this.#requests.delete(frame.re);
    request.resolve(frame.type === "accepted" ? frame : undefined);
  }

  /** A new socket knows nothing: watches again what is watched, and sends again what was not answered. */
  #resume(): void {
    const unanswered = [...this.#requests];
    const frames = unanswered.map(([, { frame }]) => frame());
    const asked = new Set(frames.map((frame) => frame.type === "watch" && frame.conversation));
    for (const conversation of this.#watched) if (!asked.has(conversation)) this.#watchAgain(conversation);
    const isListAsked = frames.some(({ type }) => type === "watch_list");
    if (this.#watchesList && !isListAsked) this.#watchListAgain();
    const now = Date.now();
    for (const [id, { sentAt = now }] of unanswered) {
      if (now - sentAt < REQUESTS_KEPT_MS) this.#send(id);
      else this.#refuse(id, new ChatError("expired", "it was sent over a day ago; it may have arrived"));
    }
  }

  /** Goes on from what this client has. Only for the socket that there is now: the next one does so anyway. */
  #watchAgain(conversation: string): void {
    if (this.#rejoining.has(conversation)) return;
    const id = randomId();
    this.#rejoining.set(conversation, id);
    const reject = (error: ChatError) => {
      this.#rejoining.delete(conversation);
      if (error.code === "not_found") this.#noteDeleted(conversation);
      else this.#watchLater(conversation, error);
    };
    this.#requests.set(id, {
      frame: () => this.#watchFrame(id, conversation),
      resolve: () => this.#rejoining.delete(conversation),
      reject,
      bytes: 0,
      again: false,
    });
    this.#send(id);
  }

  /** What was refused for now is asked for again. After a close, the next socket does so anyway. */
  #watchLater(conversation: string, { code }: ChatError): void {
    if (code === "bad_request" || code === "closed") return;
    setTimeout(() => this.#retryWatch(conversation), WATCH_AGAIN_MS);
  }

  #retryWatch(conversation: string): void {
    if (this.#state.link.name === "open" && this.#watched.has(conversation)) this.#watchAgain(conversation);
  }

  #watchListAgain(): void {
    const id = randomId();
    const resolve = () => this.#dispatch({ type: "list_watched" });
    const frame = (): ClientFrame => ({ type: "watch_list", id });
    this.#requests.set(id, { frame, resolve, reject: () => {}, bytes: 0, again: false });
    this.#send(id);
  }

  #noteDeleted(conversation: string): void {
    this.#watched.delete(conversation);
    const revision = this.#state.chats.get(conversation)?.latest ?? 0;
    this.#dispatch({ type: "changed", conversation, revision, what: "deleted" });
  }

  #watchFrame(id: string, conversation: string): ClientFrame {
    const answers = openAnswers(this.#state, conversation);
    const held = answers.map(({ id, position }) => ({ message: id, position }));
    return { type: "watch", id, conversation, answers: held };
  }

  #noteWatched(conversation: string): void {
    if (this.#watched.has(conversation)) return;
    const [oldest] = this.#watched;
    if (this.#watched.size === MAX_WATCHED && oldest !== undefined) this.#watched.delete(oldest);
    this.#watched.add(conversation);
  }

  #follow(link: Link): void {
    if (link.name !== "open") {
      for (const id of this.#rejoining.values()) this.#requests.delete(id);
      this.#rejoining.clear();
    }
    if (link.name === "waiting" && isTooBig(link.code)) this.#refuseLargest();
    this.#dispatch({ type: "link", link });
    if (link.name !== "closed") return;
    for (const id of [...this.#requests.keys()]) this.#refuse(id, closed(link.reason));
  }

  /** Something on the way takes less than the server. Sent again, the frame would break the next socket, too. */
  #refuseLargest(): void {
    const sent = [...this.#requests].filter(([, request]) => request.sentAt !== undefined);
    const [largest] = sent.sort(([, a], [, b]) => b.bytes - a.bytes);
    if (largest) this.#refuse(largest[0], new ChatError("too_large", "the message is too large"));
  }

  #refuse(id: string | undefined, error: ChatError): void {
    const request = this.#requests.get(id ?? "");
    this.#requests.delete(id ?? "");
    request?.reject(error);
  }

  #dispatch(event: ChatEvent): void {
    const state = reduce(this.#state, event);
    this.#state = state;
    for (const listener of this.#listeners) {
      try {
        listener(state, event);
      } catch (error) {
        // A view that fails must not cost a request its reply.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

function closed(reason: string): ChatError {
  return new ChatError("closed", reason || "the connection is closed");
}

/** `crypto.randomUUID` is missing on pages without TLS. */
function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
