/**
 * One WebSocket of version 2 at a time, opened again whenever it goes. Owns the hello, the waits between attempts
 * and the heartbeat. Knows nothing of conversations and repeats nothing: what it sends is gone when its socket is.
 */
import type { ClientFrame, ServerFrame } from "./protocol";

const SUBPROTOCOL = "chat.v2";
const VERSION = 2;
const FIRST_CEILING_MS = 500;
const MAX_CEILING_MS = 30_000;
/** From asking for a ticket to the welcome. */
const CONNECT_TIMEOUT_MS = 10_000;
/** How much longer than the server's heartbeat silence may last before the client asks. */
const SILENCE_MARGIN_MS = 10_000;
const PONG_TIMEOUT_MS = 10_000;
const TOO_BIG = 1009;

/** What the connection is doing. `retryAt` is in milliseconds since 1970. */
export type Link =
  | { name: "connecting" }
  | { name: "open" }
  /** The socket closed with `code`; the next attempt is at `retryAt`. */
  | { name: "waiting"; retryAt: number; code: number }
  /** Not open, and nothing will be tried before `connect()`. */
  | { name: "closed"; code: number; reason: string };

/** What this client uses of a WebSocket. */
export interface SocketLike {
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
  onerror: (() => void) | null;
  send(data: string): void;
  close(code?: number): void;
}

export interface SocketOptions {
  /** As in `wss://example.com/api/v1/ws/chat`. */
  url: string;
  /** Fetches a one-time ticket; asked before each attempt. For clients that can send neither cookie nor header. */
  ticket?: () => Promise<string | undefined>;
  /** The person's language, as in `zh-CN`. */
  locale?: string;
  /** Opens a WebSocket. Missing: the browser's. */
  open?: (url: string, protocol: string) => SocketLike;
}

export interface SocketEvents {
  onLink(link: Link): void;
  onFrame(frame: ServerFrame): void;
}

/** Whether a close code means that connecting again is of no use. */
export function isFinalClose(code: number): boolean {
  return (code >= 4400 && code < 4500) || code === 1002 || code === 1003 || code === 1007;
}

/** Whether a close code says that a frame was larger than something on the way lets through. */
export function isTooBig(code: number): boolean {
  return code === TOO_BIG;
}

export class ChatSocket {
  readonly #options: SocketOptions;
  readonly #events: SocketEvents;
  #link: Link = { name: "closed", code: 1000, reason: "" };
  #socket: SocketLike | undefined;
  /** Tells a ticket that comes too late. */
  #attempt = 0;
  #failures = 0;
  /** The next attempt, the end of this one, or the end of silence. */
  #timer: ReturnType<typeof setTimeout> | undefined;
  #silenceMs = 0;
  #isProbing = false;
  #afterMs = 0;

  constructor(options: SocketOptions, events: SocketEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Connects, and stays connected until `stop()` or a final close. Does nothing while it does so already. */
  start(): void {
    if (this.#link.name !== "closed") return;
    this.#failures = 0;
    globalThis.addEventListener?.("online", this.wake);
    globalThis.addEventListener?.("pageshow", this.wake);
    globalThis.document?.addEventListener("visibilitychange", this.wake);
    this.#connect();
  }

  stop(): void {
    if (this.#link.name !== "closed") this.#close(1000, "");
  }

  /** Only to be called after the welcome. Without a socket the frame is dropped. */
  send(frame: ClientFrame): void {
    this.#socket?.send(JSON.stringify(frame));
  }

  /** Cuts a wait short, and asks a socket that may have died unnoticed. */
  readonly wake = (event?: Event): void => {
    if (event?.type === "visibilitychange" && document.visibilityState === "hidden") return;
    if (this.#link.name === "waiting") this.#connect();
    else if (this.#link.name === "open") this.#probe();
  };

  #connect(): void {
    this.#drop();
    this.#timer = setTimeout(() => this.#lose(1006), CONNECT_TIMEOUT_MS);
    const attempt = this.#attempt;
    this.#setLink({ name: "connecting" });
    // Whoever was told may have ended the connection.
    if (attempt !== this.#attempt) return;
    const { ticket } = this.#options;
    if (!ticket) {
      this.#open(undefined);
      return;
    }
    ticket().then(
      (ticket) => attempt === this.#attempt && this.#open(ticket),
      () => attempt === this.#attempt && this.#lose(1006),
    );
  }

  #open(ticket: string | undefined): void {
    const { url, locale, open = openWebSocket } = this.#options;
    let socket: SocketLike;
    try {
      socket = open(url, SUBPROTOCOL);
    } catch (error) {
      // A bad address, or one that the page's policy forbids: the next attempt would fail the same way.
      this.#close(1006, String(error));
      return;
    }
    this.#socket = socket;
    // A close always follows. Node's `ws` throws errors that nobody listens to.
    socket.onerror = () => {};
    socket.onopen = () => {
      const hello = { type: "hello", version: VERSION, ...(ticket && { ticket }), ...(locale && { locale }) };
      socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (event) => {
      const frame = parse(event.data);
      if (frame) this.#receive(frame);
    };
    socket.onclose = (event) => {
      if (isFinalClose(event.code)) this.#close(event.code, event.reason);
      else this.#lose(event.code);
    };
  }

  #receive(frame: ServerFrame): void {
    const attempt = this.#attempt;
    if (frame.type === "welcome") this.#silenceMs = frame.heartbeat_seconds * 1000 + SILENCE_MARGIN_MS;
    if (frame.type === "goodbye") this.#afterMs = (frame.after_seconds ?? 0) * 1000;
    // A server that crashes at once also says welcome.
    if (this.#link.name === "open" && frame.type !== "goodbye") this.#failures = 0;
    this.#events.onFrame(frame);
    // Whoever was told may have ended the connection.
    if (attempt !== this.#attempt) return;
    if (frame.type === "welcome") this.#setLink({ name: "open" });
    if (this.#link.name === "open") this.#listen();
  }

  /** Something came: begins to wait for the next silence. */
  #listen(): void {
    clearTimeout(this.#timer);
    this.#isProbing = false;
    this.#timer = setTimeout(() => this.#probe(), this.#silenceMs);
  }

  /** Browsers hide the server's pings, so silence is settled by asking. */
  #probe(): void {
    if (this.#isProbing) return;
    this.#isProbing = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#lose(1006), PONG_TIMEOUT_MS);
    this.send({ type: "ping" });
  }

  #lose(code: number): void {
    this.#drop();
    const ceiling = Math.min(MAX_CEILING_MS, FIRST_CEILING_MS * 2 ** this.#failures);
    const delay = this.#afterMs + Math.random() * ceiling;
    this.#afterMs = 0;
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#setLink({ name: "waiting", retryAt: Date.now() + delay, code });
  }

  #close(code: number, reason: string): void {
    this.#drop();
    globalThis.removeEventListener?.("online", this.wake);
    globalThis.removeEventListener?.("pageshow", this.wake);
    globalThis.document?.removeEventListener("visibilitychange", this.wake);
    this.#setLink({ name: "closed", code, reason });
  }

  /** Gives the socket and the attempt up; neither is heard again. */
  #drop(): void {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = undefined;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #setLink(link: Link): void {
    this.#link = link;
    this.#events.onLink(link);
  }
}

function openWebSocket(url: string, protocol: string): SocketLike {
  return new WebSocket(url, protocol) as unknown as SocketLike;
}

/** Reads one frame; nothing for anything that is not an object with a type. */
function parse(data: unknown): ServerFrame | undefined {
  if (typeof data !== "string") return undefined;
  try {
    const value = JSON.parse(data) as ServerFrame | null;
    return typeof value?.type === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
