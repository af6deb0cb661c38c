/**
 * One WebSocket at a time, opened again whenever it goes: full jitter over a ceiling that doubles from 0.5 s to
 * 30 s and starts over after a healthy minute, at once when the network or the reader comes back.
 * Knows nothing of conversations or React; a socket it has given up on is never heard again.
 */
import { type ClientMessage, parseServerMessage, type ServerMessage } from "./protocol";

const FIRST_CEILING_MS = 500;
const MAX_CEILING_MS = 30_000;
const HEALTHY_AFTER_MS = 60_000;
const CONNECT_TIMEOUT_MS = 10_000;

/** What the connection is doing; `retryAt` is in milliseconds since the epoch. */
export type Link = { name: "connecting" } | { name: "open" } | { name: "waiting"; retryAt: number };

export interface ConnectionEvents {
  onLink(link: Link): void;
  onMessage(message: ServerMessage): void;
  /** An open socket closed without being asked to, with this close code. Comes before the change of link. */
  onLost(code: number): void;
}

export class Connection {
  readonly #url: string;
  readonly #events: ConnectionEvents;
  #socket: WebSocket | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;

  constructor(url: string, events: ConnectionEvents) {
    this.#url = url;
    this.#events = events;
  }

  /** Connects and stays connected until the returned function is called. */
  start(): () => void {
    window.addEventListener("online", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#connect();
    return () => {
      window.removeEventListener("online", this.#wake);
      document.removeEventListener("visibilitychange", this.#wake);
      this.#drop();
    };
  }

  /** Only to be called while the link is open. */
  send(message: ClientMessage): void {
    this.#socket?.send(JSON.stringify(message));
  }

  /** Gives the current socket up, or cuts a wait short, and connects afresh at once. */
  restart(): void {
    this.#drop();
    this.#connect();
  }

  #connect(): void {
    const socket = new WebSocket(this.#url);
    this.#socket = socket;
    this.#events.onLink({ name: "connecting" });
    this.#timer = setTimeout(() => this.#retryLater(), CONNECT_TIMEOUT_MS);
    let opened = false;

    socket.onopen = () => {
      opened = true;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => {
        this.#failures = 0;
      }, HEALTHY_AFTER_MS);
      this.#events.onLink({ name: "open" });
    };
    socket.onmessage = (event) => {
      const message = parseServerMessage(event.data);
      if (message) this.#events.onMessage(message);
    };
    socket.onclose = (event) => {
      if (opened) this.#events.onLost(event.code);
      this.#retryLater();
    };
  }

  #retryLater(): void {
    this.#drop();
    const ceiling = Math.min(MAX_CEILING_MS, FIRST_CEILING_MS * 2 ** this.#failures);
    const delay = Math.random() * ceiling;
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), delay);
    this.#events.onLink({ name: "waiting", retryAt: Date.now() + delay });
  }

  #drop(): void {
    clearTimeout(this.#timer);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = null;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  readonly #wake = (): void => {
    const waiting = this.#socket === null;
    if (waiting && document.visibilityState === "visible") this.restart();
  };
}
