/**
 * A gateway of the test's own, for what must not happen to the chain's: it is killed, it is set otherwise, or another
 * model is behind it. It is the program that `cargo build` made, with an address and a data folder of its own.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const POLL_MS = 50;
const START_TIMEOUT_MS = 20_000;
const WEB = resolve(import.meta.dirname, "..");

export interface GatewayOptions {
  /** The OpenAI API that answers. Missing: the chain's llm-proxy, with the real model. */
  upstream?: { url: string; key: string; model: string };
  /** Further settings, as in `{ GATEWAY_AUTH: "jwt" }`. docs/configuration.md lists them. */
  settings?: Record<string, string>;
}

export class Gateway {
  /** The page's address. */
  readonly url: string;
  /** What it wrote to its log. */
  readonly log: string;
  readonly #admin: string;
  readonly #data: string;
  readonly #settings: Record<string, string>;
  #process: ChildProcess | undefined;

  private constructor(port: number, adminPort: number, { upstream, settings }: GatewayOptions) {
    const { url, key, model } = upstream ?? chainUpstream();
    this.url = `http://127.0.0.1:${port}/`;
    this.#admin = `http://127.0.0.1:${adminPort}/`;
    this.#data = mkdtempSync(join(tmpdir(), "corral-gateway-"));
    this.log = join(this.#data, "gateway.log");
    this.#settings = {
      GATEWAY_LISTEN: `127.0.0.1:${port}`,
      GATEWAY_ADMIN_LISTEN: `127.0.0.1:${adminPort}`,
      GATEWAY_DATA: this.#data,
      GATEWAY_WEB_DIR: process.env.CORRAL_PAGE_DIR ?? join(WEB, "dist"),
      GATEWAY_DRAIN_SECONDS: "1",
      LLM_BASE_URL: url,
      LLM_API_KEY: key,
      LLM_MODEL: model,
      ...settings,
    };
  }

  /** Starts one on free ports and waits until it is ready to answer. */
  static async start(options: GatewayOptions = {}): Promise<Gateway> {
    const [port, adminPort] = await freePorts(2);
    const gateway = new Gateway(port as number, adminPort as number, options);
    await gateway.startAgain();
    return gateway;
  }

  /** Starts it after `kill`: same address, same data. */
  async startAgain(): Promise<void> {
    const log = createWriteStream(this.log, { flags: "a" });
    await once(log, "open");
    // Nothing of this process's environment: an unknown `GATEWAY_...` is refused as misspelt.
    this.#process = spawn(program(), { env: this.#settings, stdio: ["ignore", log, log] });
    const failed = once(this.#process, "exit").then(([code]) => {
      throw new Error(`chat-gateway ended with ${code}; its log is ${this.log}`);
    });
    failed.catch(() => {});
    await Promise.race([this.#ready(), failed]);
  }

  /** Kills it without a word, as a crash or the kernel would. */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Stops it and deletes what it kept. */
  async close(): Promise<void> {
    await this.#end("SIGTERM");
    await rm(this.#data, { recursive: true, force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    if (!running || running.exitCode !== null) return;
    const ended = once(running, "exit");
    running.kill(signal);
    await ended;
  }

  async #ready(): Promise<void> {
    const until = Date.now() + START_TIMEOUT_MS;
    while (Date.now() < until) {
      const answer = await fetch(new URL("readyz", this.#admin)).catch(() => undefined);
      if (answer?.ok) return;
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    throw new Error(`chat-gateway is not ready after ${START_TIMEOUT_MS} ms; its log is ${this.log}`);
  }
}

/** The chain's llm-proxy, as `cargo xtask test` names it. */
export function chainUpstream(): { url: string; key: string; model: string } {
  const { CORRAL_PROXY_URL, CORRAL_API_KEY, CORRAL_MODEL } = process.env;
  if (!CORRAL_PROXY_URL || !CORRAL_API_KEY || !CORRAL_MODEL)
    throw new Error("CORRAL_PROXY_URL, CORRAL_API_KEY and CORRAL_MODEL must name the chain's llm-proxy");
  return { url: `${CORRAL_PROXY_URL}/v1`, key: CORRAL_API_KEY, model: CORRAL_MODEL };
}

/** Ports that were free a moment ago. */
export async function freePorts(n: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: n }, async () => {
      const server = createServer().listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  await Promise.all(servers.map((server) => once(server.close(), "close")));
  return ports;
}

function program(): string {
  return process.env.CORRAL_GATEWAY_PROGRAM ?? resolve(WEB, "../target/debug/chat-gateway");
}
