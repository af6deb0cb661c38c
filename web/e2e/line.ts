/** A line to the gateway that the test can cut, and a person who comes through it with a cookie, as a browser would. */
import { createServer, type Server, type Socket, connect as tcp } from "node:net";
import WebSocket from "ws";
import { type Answer, ChatClient, ChatRest, type ChatState, type SocketLike } from "../src/client";
import { pageUrl } from "./browser";

export class Line {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  /** A line to the gateway of the page under test. */
  static async open(): Promise<Line> {
    const { hostname, port } = new URL(pageUrl());
    const line: Line = new Line(
      createServer((near) => {
        const far = tcp({ host: hostname, port: Number(port || 80) });
        for (const socket of [near, far]) {
          line.#sockets.add(socket);
          socket.on("error", () => {});
          socket.on("close", () => {
            line.#sockets.delete(socket);
            near.destroy();
            far.destroy();
          });
        }
        near.pipe(far).pipe(near);
      }),
    );
    await new Promise<void>((resolve) => line.#server.listen(0, "127.0.0.1", resolve));
    return line;
  }

  /** `path` at the near end of the line. */
  url(protocol: "http" | "ws", path: string): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("the line is closed");
    return `${protocol}://127.0.0.1:${address.port}${new URL(path, pageUrl()).pathname}`;
  }

  /** Breaks every connection; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  close(): void {
    this.cut();
    this.#server.close();
  }
}

export class Visitor {
  readonly client: ChatClient;
  readonly rest: ChatRest;
  #cookie: string | undefined;
  #sockets = 0;

  /** Another tab of `other`, or somebody new. */
  constructor(line: Line, other?: Visitor) {
    this.#cookie = other === undefined ? undefined : other.#cookie;
    this.client = new ChatClient({
      url: line.url("ws", "api/v1/ws/chat"),
      open: (url, protocol) => this.#open(url, protocol),
    });
    this.rest = new ChatRest({
      base: line.url("http", "api/v1/"),
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
