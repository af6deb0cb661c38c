/** A WebSocket that opens, speaks and closes only when the test says so, and keeps what the client sent. */
import type { ServerFrame } from "../../src/client/protocol";
import type { SocketLike } from "../../src/client/socket";

export const welcome = {
  type: "welcome",
  version: 2,
  user: { id: "u1" },
  heartbeat_seconds: 25,
  limits: { message_bytes: 131_072, image_bytes: 131_072, queued: 8, messages_per_minute: 30 },
  options: {
    temperature: { min: 0, max: 2, default: 0.2 },
    top_p: { min: 0, max: 1 },
    top_k: { min: 0, max: 1000 },
    min_p: { min: 0, max: 1 },
    max_tokens: { min: 1, max: 1024, default: 1024 },
    system_bytes: 65_536,
    stops: 4,
    stop_bytes: 256,
    thinking: true,
  },
  model: { name: "qwen3", context: 8192, images: false, tools: false, state: "ready" },
  features: [],
} satisfies ServerFrame;

export type Sent = { type: string; id?: string; [field: string]: unknown };

export class FakeServer implements SocketLike {
  static all: FakeServer[] = [];

  static get last(): FakeServer {
    const socket = FakeServer.all.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }

  /** To be handed to the client as `open`. */
  static readonly open = (url: string, protocol: string): FakeServer => new FakeServer(url, protocol);

  onopen: SocketLike["onopen"] = null;
  onmessage: SocketLike["onmessage"] = null;
  onclose: SocketLike["onclose"] = null;
  onerror: SocketLike["onerror"] = null;
  readonly url: string;
  readonly protocol: string;
  readonly sent: Sent[] = [];
  closedByClient = false;

  constructor(url: string, protocol: string) {
    this.url = url;
    this.protocol = protocol;
    FakeServer.all.push(this);
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(): void {
    this.closedByClient = true;
  }

  /** Opens the socket and answers the hello. */
  welcomes(): void {
    this.onopen?.();
    this.says(welcome);
  }

  /** Sends these frames, one after another. */
  says(...frames: ServerFrame[]): void {
    for (const frame of frames) this.onmessage?.({ data: JSON.stringify(frame) });
  }

  breaks(code = 1006, reason = ""): void {
    this.onclose?.({ code, reason });
  }

  /** What was sent after the hello, without ids. */
  get asked(): Sent[] {
    return this.sent.slice(1).map(({ id: _id, ...frame }) => frame);
  }

  /** The id of the last frame of a type. */
  idOf(type: string): string {
    const frame = this.sent.findLast((frame) => frame.type === type);
    if (!frame?.id) throw new Error(`no ${type} was sent`);
    return frame.id;
  }
}
