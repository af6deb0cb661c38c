/**
 * A model that says what the test tells it to: an OpenAI API as llm-proxy serves it, with the comments that tell of the
 * queue and of the prompt. For what no small model can be brought to do: think, read images, wait in a queue, fail.
 */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const KEY = "scripted-key-0123456789";

/** One step of an answer. */
export type Step =
  | { text: string }
  | { thought: string }
  | { queue: number; wait?: number }
  | { prefill: number; of: number }
  | { pause: number }
  /** Waits until the test lets it go on. */
  | { until: Promise<unknown> }
  /** The connection breaks. */
  | { cut: true }
  | { refuse: number; code: string; message: string }
  | { finish: "stop" | "length" };

/** What the gateway asked for. */
export interface Asked {
  messages: { role: string; content: unknown }[];
  [option: string]: unknown;
}

export interface UpstreamOptions {
  /** The model's name. */
  name?: string;
  images?: boolean;
  context?: number;
}

export class Upstream {
  /** Every request for an answer, in order. */
  readonly asked: Asked[] = [];
  /** What is answered next, by what is asked. */
  script: (asked: Asked) => Iterable<Step> | AsyncIterable<Step> = () => [{ text: "Hello." }];
  readonly #server: Server;
  readonly #options: Required<UpstreamOptions>;

  private constructor(options: UpstreamOptions) {
    this.#options = { name: "scripted", images: false, context: 8192, ...options };
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  static async start(options: UpstreamOptions = {}): Promise<Upstream> {
    const upstream = new Upstream(options);
    upstream.#server.listen(0, "127.0.0.1");
    await once(upstream.#server, "listening");
    return upstream;
  }

  /** How a gateway reaches it. */
  get address(): { url: string; key: string; model: string } {
    const { port } = this.#server.address() as AddressInfo;
    return { url: `http://127.0.0.1:${port}/v1`, key: KEY, model: this.#options.name };
  }

  /** Asks for these steps, then a plain end. */
  says(...steps: Step[]): void {
    this.script = () => steps;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await read(request);
    if (request.url?.endsWith("/models")) return json(response, 200, this.#models());
    if (request.url?.endsWith("/input_tokens")) return json(response, 200, { input_tokens: tokensOf(body) });
    if (!request.url?.endsWith("/chat/completions")) return json(response, 404, {});
    const asked = JSON.parse(body) as Asked;
    this.asked.push(asked);
    await answer(response, this.script(asked), tokensOf(body)).catch(() => response.destroy());
  }

  #models() {
    const { name, context, images } = this.#options;
    return {
      object: "list",
      data: [{ id: name, object: "model", meta: { n_ctx: context, images, tools: false } }],
    };
  }
}

async function answer(
  response: ServerResponse,
  steps: Iterable<Step> | AsyncIterable<Step>,
  prompt_tokens: number,
): Promise<void> {
  let finish = "stop";
  let pieces = 0;
  const begin = () => {
    if (response.headersSent) return;
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
  };
  const event = (choice: object) =>
    response.write(`data: ${JSON.stringify({ choices: [{ index: 0, ...choice }] })}\n\n`);
  for await (const step of steps) {
    if (response.destroyed) return;
    if ("refuse" in step) {
      const error = { code: step.code, message: step.message, type: step.code };
      return json(response, step.refuse, { error });
    }
    begin();
    if ("text" in step) {
      pieces += 1;
      event({ delta: { content: step.text } });
    } else if ("thought" in step) {
      pieces += 1;
      event({ delta: { reasoning_content: step.thought } });
    } else if ("queue" in step) {
      const wait = step.wait === undefined ? "" : ` wait=${step.wait}`;
      response.write(`: queue position=${step.queue}${wait}\n\n`);
    } else if ("prefill" in step) response.write(`: prefill ${step.prefill}/${step.of}\n\n`);
    else if ("pause" in step) await new Promise((resolve) => setTimeout(resolve, step.pause));
    else if ("until" in step) await step.until;
    else if ("cut" in step) return void response.socket?.end();
    else finish = step.finish;
  }
  begin();
  event({ delta: {}, finish_reason: finish });
  const usage = { prompt_tokens, completion_tokens: pieces, total_tokens: prompt_tokens + pieces };
  response.end(`data: ${JSON.stringify({ choices: [], usage })}\n\ndata: [DONE]\n\n`);
}

/** About as many tokens as English has. */
function tokensOf(body: string): number {
  return Math.ceil(body.length / 4);
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function read(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
