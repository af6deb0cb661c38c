/**
 * Debian's Chromium with a fresh profile, and a visit to the page under test that keeps what must not happen:
 * console errors, exceptions, and requests to anywhere but the page's own host.
 */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Locator, type Page } from "playwright-core";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The page under test. */
export function pageUrl(): string {
  const url = process.env.CORRAL_PAGE_URL;
  if (!url) throw new Error("CORRAL_PAGE_URL is not set: start the chain and name the page's address in it");
  return url;
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath(), args: FLAGS });
}

function chromiumPath(): string {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const places = [
    process.env.CHROMIUM_BIN,
    "/usr/bin/chromium",
    ...folders.map((at) => join(at, "chromium")),
  ];
  const found = places.find((place) => place && isExecutable(place));
  if (!found) throw new Error("no Chromium found: apt-get install chromium, or name one in CHROMIUM_BIN");
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** One reader's visit, with the frames of every socket it opened. */
export class Visit {
  readonly page: Page;
  readonly sent: unknown[] = [];
  readonly received: { type: string; content?: string }[] = [];
  /** Everything that should not have happened. */
  readonly problems: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    const { host } = new URL(pageUrl());
    const watchAddress = (url: string) => {
      if (new URL(url).host !== host) this.problems.push(`request to ${url}`);
    };
    page.on("console", (message) => {
      if (message.type() === "error") this.problems.push(`console: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.problems.push(`exception: ${error.message}`));
    page.on("request", (request) => watchAddress(request.url()));
    page.on("websocket", (socket) => {
      watchAddress(socket.url());
      socket.on("framesent", ({ payload }) => this.sent.push(JSON.parse(String(payload))));
      socket.on("framereceived", ({ payload }) => this.received.push(JSON.parse(String(payload))));
    });
  }

  /** `prepare` runs before the page loads. */
  static async start(
    browser: Browser,
    options: BrowserContextOptions = {},
    prepare: (page: Page) => Promise<void> = async () => {},
  ): Promise<Visit> {
    const context = await browser.newContext({ locale: "en-US", ...options });
    const visit = new Visit(await context.newPage());
    await prepare(visit.page);
    await visit.page.goto(pageUrl());
    return visit;
  }

  get input(): Locator {
    return this.page.getByRole("textbox");
  }

  async ask(question: string): Promise<void> {
    await this.input.fill(question);
    await this.input.press("Enter");
  }

  /** Waits until the turn at this place, from 0, is in this state. */
  async turn(place: number, state: string): Promise<Locator> {
    const turn = this.page.locator(".turn").nth(place);
    await turn.and(this.page.locator(`[data-state="${state}"]`)).waitFor();
    return turn;
  }

  async link(state: string): Promise<void> {
    await this.page.locator(`[data-link="${state}"]`).waitFor();
  }

  /** The answers' texts, in order. */
  answers(): Promise<string[]> {
    return this.page.locator(".answer").allTextContents();
  }

  async screenshot(name: string): Promise<void> {
    await this.page.screenshot({ path: join(import.meta.dirname, "screenshots", `${name}.png`) });
  }
}
