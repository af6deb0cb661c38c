/**
 * `cargo xtask bench page`: what the page costs the browser's main thread, in Chromium's own trace, with a real gateway and
 * a scripted model. Prints tables; never fails for a figure.
 */
import { readFileSync } from "node:fs";
import { cpus, loadavg } from "node:os";
import { parseArgs } from "node:util";
import type { Browser, BrowserContext, CDPSession, Page } from "playwright-core";
import { launch } from "../e2e/browser";
import { documentOf, type Turn } from "../e2e/documents";
import { Gateway } from "../e2e/gateway";
import { type Step, Upstream } from "../e2e/upstream";
import type { Conversation, Exported } from "../src/client";
import { fence, paragraph, prose, tokens } from "./texts";
import { LONG_MS, type TaskTimes, traced } from "./trace";

const MEGABYTE = 1_000_000;
const MESSAGES = 2000;
const TOKENS_PER_SECOND = 200;
const FIRST_PAINTS = 9;
/** What stands below an answer that has ended. */
const ENDED = "article.answer .actions";
const END = "This is the end of the text.";
/** A main thread is quiet that has been busy for less than this share of the time, for so long. */
const QUIET_SHARE = 0.05;
const QUIET_MS = 1500;
const LOOK_MS = 250;
/** To scroll through a long conversation takes less. */
const SCROLL_MS = 120_000;
const WINDOW = { width: 1280, height: 800 };

/** What is measured, in order. */
const SCENARIOS = ["paint", "answers", "messages", "stream"] as const;
type Scenario = (typeof SCENARIOS)[number];

export async function run(argv: string[]): Promise<void> {
  const { values } = parseArgs({
    args: argv,
    options: {
      seconds: { type: "string", default: "20" },
      scenario: { type: "string", multiple: true, default: [...SCENARIOS] },
    },
  });
  const upstream = await Upstream.start({ context: 1_000_000 });
  const gateway = await Gateway.start({
    upstream: upstream.address,
    settings: { GATEWAY_MAX_TOKENS: "400000", LOG_LEVEL: "warn" },
  });
  const browser = await launch();
  const bench = new PageBench(browser, gateway, upstream, Number(values.seconds));
  console.log(`${machine()}, which browser, gateway and model share\n`);
  try {
    for (const scenario of values.scenario) await bench[scenario as Scenario]();
  } finally {
    await browser.close();
    await gateway.close();
    upstream.close();
  }
}

class PageBench {
  readonly #browser: Browser;
  readonly #gateway: Gateway;
  readonly #upstream: Upstream;
  readonly #seconds: number;

  constructor(browser: Browser, gateway: Gateway, upstream: Upstream, seconds: number) {
    this.#browser = browser;
    this.#gateway = gateway;
    this.#upstream = upstream;
    this.#seconds = seconds;
  }

  /** From the address to the first paint, each time in a new profile. */
  async paint(): Promise<void> {
    const first: number[] = [];
    const content: number[] = [];
    const usable: number[] = [];
    for (let n = 0; n < FIRST_PAINTS; n += 1) {
      const context = await this.#context();
      const page = await context.newPage();
      await page.addInitScript(noteFirstField);
      await page.goto(this.#gateway.url);
      await page.locator("textarea").waitFor();
      await page.waitForFunction(hasPaintedText);
      const seen = await page.evaluate(paintTimes);
      first.push(seen.first);
      content.push(seen.content);
      usable.push(seen.usable);
      await context.close();
    }
    print(
      `First paint, ${FIRST_PAINTS} times with nothing cached`,
      ["", "median", "slowest"],
      [
        ["first paint", ...medianAndMax(first)],
        ["first text", ...medianAndMax(content)],
        ["the field for a message is there", ...medianAndMax(usable)],
      ],
    );
  }

  /** Opens answers of a megabyte. */
  async answers(): Promise<void> {
    const texts = { "Markdown of all kinds": prose, "one block of code": fence, "one paragraph": paragraph };
    const rows: string[][] = [];
    for (const [name, write] of Object.entries(texts)) {
      const document = documentOf(name, [["Write a megabyte.", `${write(MEGABYTE)}\n\n${END}`]]);
      rows.push(await this.#opened(name, document, END));
    }
    this.#print("A conversation with an answer of 1 MB is opened", rows);
  }

  /** Opens a long conversation and reads it from its end to its beginning. */
  async messages(): Promise<void> {
    const turns = Array.from({ length: MESSAGES / 2 }, (_, n): Turn => {
      const answer = prose(200).slice(0, 300 + (n % 7) * 100);
      return [`Question number ${n}: what did the keeper see?`, answer];
    });
    const document = documentOf("A long conversation", turns);
    const first = "Question number 0:";
    const last = `Question number ${turns.length - 1}:`;
    const opened = await this.#opened("opened", document, last);
    const scrolled = await this.#opened("opened and scrolled to its beginning", document, first, (page) =>
      scrollUpTo(page, first),
    );
    this.#print(`A conversation of ${MESSAGES.toLocaleString("en")} messages`, [opened, scrolled]);
  }

  /** Answers that are being written. */
  async stream(): Promise<void> {
    const text = prose(MEGABYTE);
    const all = tokens(text);
    const n = TOKENS_PER_SECOND * this.#seconds;
    const paced = await this.#answered(
      `${TOKENS_PER_SECOND} tokens/s for ${this.#seconds} s`,
      steadily(all.slice(0, n)),
    );
    const before = all.slice(0, 25_000).join("");
    const late = await this.#answered(
      `the same below ${(Buffer.byteLength(before) / 1000).toFixed(0)} kB of the answer`,
      (async function* () {
        yield { text: before };
        yield* steadily(all.slice(25_000, 25_000 + n));
      })(),
    );
    const fast = await this.#answered("1 MB as fast as it comes", atOnce(text));
    this.#print("An answer is written", [paced, late, fast]);
  }

  /** Measures the opening of a conversation from the side bar, and what is done then; `seen` must be there in the end. */
  async #opened(
    name: string,
    document: Exported,
    seen: string,
    act: (page: Page) => Promise<void> = async () => {},
  ): Promise<string[]> {
    const context = await this.#context();
    try {
      const page = await this.#visit(context);
      const url = new URL("api/v1/conversations/import", this.#gateway.url).href;
      const response = await context.request.post(url, { data: document });
      if (!response.ok()) throw new Error(`import: ${response.status()} ${await response.text()}`);
      const { title } = (await response.json()) as Conversation;
      await page.reload();
      const link = page.getByRole("link", { name: title });
      await link.waitFor();
      const cells = await this.#measure(name, page, async () => {
        await link.click();
        await page.locator(ENDED).last().waitFor();
        await act(page);
      });
      const shown = page.getByText(seen).last().waitFor({ timeout: 5000 });
      return await shown.then(
        () => cells,
        () => [`${name}: **\`${seen}\` is not shown**`, ...cells.slice(1)],
      );
    } finally {
      await context.close();
    }
  }

  /** Measures an answer from the question to its end. */
  async #answered(name: string, script: AsyncIterable<Step>): Promise<string[]> {
    this.#upstream.script = () => script;
    const context = await this.#context();
    try {
      const page = await this.#visit(context);
      const done = page.locator(ENDED);
      await page.locator("textarea").fill("Write a long story.");
      return await this.#measure(name, page, async () => {
        await page.locator("textarea").press("Enter");
        await done.waitFor({ timeout: 300_000 });
      });
    } finally {
      await context.close();
    }
  }

  async #measure(name: string, page: Page, act: () => Promise<void>): Promise<string[]> {
    const quiet = await QuietThread.of(page);
    const begin = performance.now();
    let seconds = 0;
    const times = await traced(this.#browser, page, async () => {
      await act();
      seconds = ((await quiet.wait()) - begin) / 1000;
    });
    return [name, ...cells(times, seconds)];
  }

  #context(): Promise<BrowserContext> {
    return this.#browser.newContext({ locale: "en-US", viewport: WINDOW });
  }

  async #visit(context: BrowserContext): Promise<Page> {
    const page = await context.newPage();
    page.setDefaultTimeout(120_000);
    await page.goto(this.#gateway.url);
    await page.locator('[data-link="open"]').first().waitFor();
    return page;
  }

  #print(title: string, rows: string[][]): void {
    print(
      title,
      [
        "",
        `tasks over ${LONG_MS} ms`,
        "longest",
        "most CPU time",
        "busy in all",
        "seconds",
        "in the longest",
      ],
      rows,
    );
  }
}

/** Tokens at an even pace, by the clock: a timer that is late is made up for. */
async function* steadily(texts: readonly string[]): AsyncGenerator<Step> {
  const begin = performance.now();
  for (const [n, text] of texts.entries()) {
    const pause = begin + (n * 1000) / TOKENS_PER_SECOND - performance.now();
    if (pause > 0) yield { pause };
    yield { text };
  }
}

async function* atOnce(text: string): AsyncGenerator<Step> {
  for (const piece of text.match(/[\s\S]{1,400}/g) ?? []) yield { text: piece };
}

/** Turns the mouse's wheel until the first message is that one. It looks at the page in the cheapest way, because looking is measured too. */
async function scrollUpTo(page: Page, message: string): Promise<void> {
  const until = performance.now() + SCROLL_MS;
  await page.mouse.move(WINDOW.width * 0.6, WINDOW.height / 2);
  while (!(await page.evaluate(beginsWith, message))) {
    if (performance.now() > until) return;
    await page.mouse.wheel(0, -2000);
    await page.waitForTimeout(30);
  }
}

/**
 * Waits until the main thread has done what it put off. It reads Chromium's own counter: to look for a text in a megabyte
 * of page would be the longest task of all.
 */
class QuietThread {
  readonly #page: Page;
  readonly #session: CDPSession;

  private constructor(page: Page, session: CDPSession) {
    this.#page = page;
    this.#session = session;
  }

  static async of(page: Page): Promise<QuietThread> {
    const session = await page.context().newCDPSession(page);
    await session.send("Performance.enable");
    return new QuietThread(page, session);
  }

  /** Returns when it became quiet. */
  async wait(): Promise<number> {
    let since = performance.now();
    let before = await this.#busy();
    while (performance.now() - since < QUIET_MS) {
      await this.#page.waitForTimeout(LOOK_MS);
      const now = await this.#busy();
      if (now - before > LOOK_MS * QUIET_SHARE) since = performance.now();
      before = now;
    }
    return since;
  }

  /** All tasks until now, in milliseconds. */
  async #busy(): Promise<number> {
    const { metrics } = await this.#session.send("Performance.getMetrics");
    return (metrics.find(({ name }) => name === "TaskDuration")?.value ?? 0) * 1000;
  }
}

function cells({ long, longestMs, longestCpuMs, busyMs, parts }: TaskTimes, seconds: number): string[] {
  const times = [longestMs, longestCpuMs, busyMs].map((time) => `${time.toFixed(0)} ms`);
  return [`${long}`, ...times, seconds.toFixed(1), parts];
}

function medianAndMax(values: number[]): string[] {
  const sorted = values.toSorted((a, b) => a - b);
  const shown = [sorted[Math.floor(sorted.length / 2)], sorted.at(-1)];
  return shown.map((value = Number.NaN) => `${value.toFixed(0)} ms`);
}

function print(title: string, head: string[], rows: string[][]): void {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  const rule = `|---|${"--:|".repeat(head.length - 1)}`;
  console.log(`### ${title}\n\nLoad ${loadavg()[0]?.toFixed(1)} after it.\n`);
  console.log([line(head), rule, ...rows.map(line)].join("\n"), "\n");
}

function machine(): string {
  const model = /^model name\s*: (.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1];
  return `${cpus().length} cores, ${model ?? "unknown processor"}`;
}

// What runs in the page.

function beginsWith(message: string): boolean {
  return document.querySelector("article")?.textContent?.includes(message) === true;
}

function noteFirstField(): void {
  const look = new MutationObserver(() => {
    if (!document.querySelector("textarea")) return;
    performance.mark("field");
    look.disconnect();
  });
  look.observe(document, { childList: true, subtree: true });
}

function hasPaintedText(): boolean {
  return performance.getEntriesByName("first-contentful-paint").length > 0;
}

function paintTimes(): { first: number; content: number; usable: number } {
  const at = (name: string) => performance.getEntriesByName(name)[0]?.startTime ?? Number.NaN;
  return { first: at("first-paint"), content: at("first-contentful-paint"), usable: at("field") };
}
