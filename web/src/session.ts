/**
 * Joins the connection to the conversation, outside React: sends the outbox one question at a time, gathers
 * deltas and shows them once per animation frame, and turns what the reader wants into frames.
 * Version 1 has no frame for "stop": closing the socket stops the answer, and the server forgets the conversation.
 */
import { type Action, answering, type Chat, emptyChat, nextWaiting, reduce } from "./chat";
import { Connection, type Link } from "./connection";
import type { ServerMessage } from "./protocol";

/** WebSocket close code: the message was larger than the server reads. */
const MESSAGE_TOO_BIG = 1009;

export interface Snapshot {
  chat: Chat;
  link: Link;
}

export class Session {
  readonly #connection: Connection;
  readonly #listeners = new Set<() => void>();
  #snapshot: Snapshot = { chat: emptyChat, link: { name: "connecting" } };
  #unshown = "";
  #frame: number | undefined;

  constructor(url: string) {
    this.#connection = new Connection(url, {
      onLink: (link) => this.#publish({ ...this.#snapshot, link }),
      onMessage: (message) => this.#receive(message),
      onLost: (code) => this.#dispatch({ type: "lost", tooLong: code === MESSAGE_TOO_BIG }),
    });
  }

  /** Stays connected until the returned function is called. */
  readonly start = (): (() => void) => this.#connection.start();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly snapshot = (): Snapshot => this.#snapshot;

  ask(question: string): void {
    this.#dispatch({ type: "ask", question });
  }

  readonly retry = (id: number): void => this.#dispatch({ type: "retry", id });

  stop(): void {
    if (!answering(this.#snapshot.chat)) return;
    this.#connection.restart();
    this.#dispatch({ type: "stop" });
  }

  /** Starts a new conversation. A fresh socket is one by itself, so only an idle open one is told. */
  reset(): void {
    if (answering(this.#snapshot.chat)) this.#connection.restart();
    else if (this.#snapshot.link.name === "open") this.#connection.send({ type: "reset" });
    this.#dispatch({ type: "reset" });
  }

  reconnectNow(): void {
    if (this.#snapshot.link.name === "waiting") this.#connection.restart();
  }

  #receive(message: ServerMessage): void {
    switch (message.type) {
      case "delta":
        this.#unshown += message.content;
        this.#frame ??= requestAnimationFrame(() => this.#show());
        return;
      case "done":
        this.#dispatch({ type: "done" });
        return;
      case "error":
        this.#dispatch({ type: "fail", message: message.message });
        return;
      case "reset_ok":
        return;
    }
  }

  /** Applies the action, after the deltas that came before it. */
  #dispatch(action: Action): void {
    this.#show();
    this.#publish({ ...this.#snapshot, chat: reduce(this.#snapshot.chat, action) });
  }

  #show(): void {
    if (this.#frame === undefined) return;
    cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    const content = this.#unshown;
    this.#unshown = "";
    this.#publish({ ...this.#snapshot, chat: reduce(this.#snapshot.chat, { type: "delta", content }) });
  }

  #publish(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const listener of this.#listeners) listener();
    this.#sendNext();
  }

  #sendNext(): void {
    const { chat, link } = this.#snapshot;
    const next = nextWaiting(chat);
    if (link.name !== "open" || answering(chat) || !next) return;
    this.#connection.send({ content: next.question });
    this.#dispatch({ type: "sent" });
  }
}
