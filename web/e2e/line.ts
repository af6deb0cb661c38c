/** A line to a gateway that the test can cut, slow down and silence: a TCP proxy on a port of its own. */
import { once } from "node:events";
import { createServer, type Server, type Socket, connect as tcp } from "node:net";
import { Transform } from "node:stream";
import { pageUrl } from "./browser";

/** How slow a line is. Missing fields cost nothing. */
export interface Pace {
  /** Added to each way, in milliseconds. */
  latencyMs?: number;
  /** In each direction. */
  bytesPerSecond?: number;
}

/** As much as one packet holds. */
const PACKET_BYTES = 1400;

export class Line {
  /** The page's address at the near end. */
  readonly url: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #down = false;

  private constructor(server: Server, far: URL) {
    this.#server = server;
    const { port } = server.address() as { port: number };
    // A certificate is for a name, at any port.
    const near = new URL(far.protocol === "https:" ? far : "http://127.0.0.1/");
    near.port = String(port);
    this.url = near.href;
  }

  /** A line to the gateway of the page at `to`. */
  static async open(to = pageUrl(), pace: Pace = {}): Promise<Line> {
    const far = new URL(to);
    const port = Number(far.port || (far.protocol === "https:" ? 443 : 80));
    const server = createServer((near) => line.#join(near, tcp(port, far.hostname), pace));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const line = new Line(server, far);
    return line;
  }

  /** The address of `path` at the near end. */
  at(protocol: "http" | "ws", path: string): string {
    const url = new URL(path, this.url);
    url.protocol = url.protocol === "https:" ? `${protocol}s` : protocol;
    return url.href;
  }

  /** Breaks every connection; new ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Breaks every connection, and refuses new ones until `up`. */
  down(): void {
    this.#down = true;
    this.cut();
  }

  up(): void {
    this.#down = false;
  }

  /** Nothing passes any more on the connections that are open, and nobody is told. New ones work. */
  silence(): void {
    for (const socket of this.#sockets) {
      socket.unpipe();
      socket.pause();
    }
  }

  close(): void {
    this.cut();
    this.#server.close();
  }

  #join(near: Socket, far: Socket, pace: Pace): void {
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#sockets.delete(socket);
        near.destroy();
        far.destroy();
      });
    }
    if (this.#down) return void near.destroy();
    near.pipe(shaped(pace)).pipe(far);
    far.pipe(shaped(pace)).pipe(near);
  }
}

/** Passes bytes on in their order, each packet when a slow line would have delivered it. */
function shaped({ latencyMs = 0, bytesPerSecond = Number.POSITIVE_INFINITY }: Pace): Transform {
  let free = 0;
  let inFlight = Promise.resolve();
  return new Transform({
    async transform(chunk: Buffer, _encoding, done) {
      for (let at = 0; at < chunk.length; at += PACKET_BYTES) {
        const packet = chunk.subarray(at, at + PACKET_BYTES);
        free = Math.max(free, performance.now()) + (packet.length / bytesPerSecond) * 1000;
        const arrives = free + latencyMs;
        inFlight = inFlight.then(() => until(arrives)).then(() => void this.push(packet));
        await until(free);
      }
      done();
    },
    flush(done) {
      inFlight.then(() => done());
    },
  });
}

function until(time: number): Promise<void> | undefined {
  const ms = time - performance.now();
  return ms <= 0 ? undefined : new Promise((resolve) => setTimeout(resolve, ms));
}
