/** A person who comes over a line with the client of version 2, and keeps a cookie as a browser would. */
import WebSocket from "ws";
import { type Answer, ChatClient, ChatRest, type ChatState, type SocketLike } from "../src/client";
import type { Line } from "./line";

export class Visitor {
  readonly client: ChatClient;
  readonly rest: ChatRest;
  #cookie: string | undefined;
  #sockets = 0;

  /** Another tab of `other`, or somebody new. */
  constructor(line: Line, other?: Visitor) {
    this.#cookie = other === undefined ? undefined : other.#cookie;
    this.client = new ChatClient({
      url: line.at("ws", "api/v1/ws/chat"),
      open: (url, protocol) => this.#open(url, protocol),
    });
    this.rest = new ChatRest({
      base: line.at("http", "api/v1/"),
      headers: (): Record<string, string> => (this.#cookie ? { cookie: this.#cookie } : {}),
    });
    this.client.connect();
  }

  get sockets(): number {
    return this.#sockets;
  }

  /** Waits until the state is as wished. */
  until(wished: (state: ChatState) => boolean): Promise<ChatState> {
    return new Promise((resolve) => {
      const look = (state: ChatState) => {
        if (!wished(state)) return;
        leave();
        resolve(state);
      };
      const leave = this.client.subscribe(look);
      look(this.client.getState());
    });
  }

  /** Waits until an answer is as wished. */
  async answer(id: string, wished: (answer: Answer) => boolean): Promise<Answer> {
    const is = (answer: Answer | undefined): answer is Answer => answer !== undefined && wished(answer);
    const state = await this.until((state) => is(state.answers.get(id)));
    return state.answers.get(id) as Answer;
  }

  #open(url: string, protocol: string): SocketLike {
    const headers = this.#cookie ? { cookie: this.#cookie } : {};
    const socket = new WebSocket(url, protocol, { headers });
    socket.once("upgrade", ({ headers }) => {
      this.#sockets += 1;
      this.#cookie ??= headers["set-cookie"]?.[0]?.split(";")[0];
    });
    return socket as unknown as SocketLike;
  }
}
