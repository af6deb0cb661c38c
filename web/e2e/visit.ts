/**
 * One person's visit to the page, in the words of the page: parts are found by role and accessible name. Keeps the frames
 * of every socket, and what must not happen: console errors, exceptions, and requests to anywhere but the page's own host.
 */
import { join } from "node:path";
import type { Browser, BrowserContext, BrowserContextOptions, Locator, Page } from "playwright-core";
import { expect } from "vitest";
import { words as appWords } from "../src/app/appWords";
import type { Preferences } from "../src/app/preferences";
import type { Language, Words } from "../src/app/words";
import type { ClientFrame, Message, ServerFrame } from "../src/client";
import { words as composerWords } from "../src/composer/words";
import { words as sidebarWords } from "../src/sidebar/words";
import { words as threadWords } from "../src/thread/words";
import { pageUrl } from "./browser";

const PREFERENCES_KEY = "corral.preferences";
/** How the notes below an answer that is not whole are called. */
const STATUS_OF_END: Readonly<Record<string, string>> = {
  stopped: "stopped",
  stoppedEarly: "stopped",
  interrupted: "interrupted",
  failed: "failed",
};
/** Enough to see an answer grow; the small model would ramble for a minute. */
export const SHORT_ANSWER = { max_tokens: 48, temperature: 0 };

export interface VisitOptions extends BrowserContextOptions {
  language?: Language;
  /** What the person has set before. */
  preferences?: Partial<Preferences>;
  /** Missing: the page at the chain's gateway. */
  url?: string;
  /** Runs before the page loads. */
  prepare?: (page: Page) => Promise<void>;
  /** Complaints of the browser's console that belong to the story, as those of a line that is cut. */
  expected?: RegExp;
}

export class Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  readonly language: Language;
  readonly url: string;
  readonly sent: ClientFrame[] = [];
  readonly received: ServerFrame[] = [];
  /** Everything that should not have happened. */
  readonly problems: string[] = [];
  readonly #options: VisitOptions;

  private constructor(page: Page, options: VisitOptions) {
    this.page = page;
    this.context = page.context();
    this.language = options.language ?? "en";
    this.url = options.url ?? pageUrl();
    this.#options = options;
    const { host } = new URL(this.url);
    const watchAddress = (url: string) => {
      const { protocol, host: other } = new URL(url);
      if (other !== host && protocol !== "data:" && protocol !== "blob:")
        this.problems.push(`request to ${url}`);
    };
    page.on("console", (message) => {
      const text = message.text();
      if (message.type() === "error" && !options.expected?.test(text))
        this.problems.push(`console: ${text} (${message.location().url})`);
    });
    page.on("pageerror", (error) => this.problems.push(`exception: ${error.message}`));
    page.on("request", (request) => watchAddress(request.url()));
    page.on("websocket", (socket) => {
      watchAddress(socket.url());
      socket.on("framesent", ({ payload }) => this.sent.push(JSON.parse(String(payload))));
      socket.on("framereceived", ({ payload }) => this.received.push(JSON.parse(String(payload))));
    });
  }

  /** Opens the page as somebody new. */
  static async start(browser: Browser, options: VisitOptions = {}): Promise<Visit> {
    const {
      language = "en",
      preferences,
      url: _url,
      prepare: _prepare,
      expected: _expected,
      ...rest
    } = options;
    const context = await browser.newContext({ locale: language === "en" ? "en-US" : language, ...rest });
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const kept = JSON.stringify({ options: SHORT_ANSWER, ...preferences });
    await context.addInitScript(([key, value]) => (localStorage[key as string] ??= value), [
      PREFERENCES_KEY,
      kept,
    ] as const);
    return Visit.#open(context, options);
  }

  static async #open(context: BrowserContext, options: VisitOptions, hash = ""): Promise<Visit> {
    const visit = new Visit(await context.newPage(), options);
    await options.prepare?.(visit.page);
    await visit.page.goto(visit.url + hash);
    return visit;
  }

  /** Another tab of the same person, at the open conversation or another address. */
  tab(hash = new URL(this.page.url()).hash): Promise<Visit> {
    return Visit.#open(this.context, this.#options, hash);
  }

  /** Ends the visit; nothing may have gone wrong in it. */
  async end(): Promise<void> {
    expect(this.problems).toEqual([]);
    await this.context.close();
  }

  // The page's words and parts.

  /** The page's words in the visitor's language. */
  say<T>(words: Words<T>): T {
    return words[this.language];
  }

  get input(): Locator {
    return this.page.getByRole("textbox", { name: this.say(composerWords).message, exact: true });
  }

  button(name: string | RegExp): Locator {
    return this.page.getByRole("button", { name, exact: typeof name === "string" });
  }

  get sidebar(): Locator {
    return this.page.getByRole("navigation", { name: this.say(sidebarWords).conversations });
  }

  /** A conversation in the side bar, by its title or a part of it. */
  row(title: string | RegExp): Locator {
    return this.sidebar.getByRole("link", { name: title });
  }

  /** The titles in the side bar, from the top. */
  titles(): Promise<string[]> {
    return this.sidebar.getByRole("listitem").getByRole("link").allTextContents();
  }

  /** Opens the menu of a conversation in the side bar, and chooses. */
  async choose(title: string, item: string): Promise<void> {
    await this.row(title).hover();
    await this.sidebar.getByRole("button", { name: this.say(sidebarWords).more(title), exact: true }).click();
    await this.page.getByRole("menuitem", { name: item, exact: true }).click();
  }

  /** A short message over the page. */
  notice(text: string): Locator {
    return this.page.getByRole("status").getByText(text, { exact: true });
  }

  get log(): Locator {
    return this.page.getByRole("log", { name: this.say(threadWords).conversation });
  }

  get questions(): Locator {
    return this.log.locator("article.question");
  }

  get answers(): Locator {
    return this.log.locator("article.answer");
  }

  // What a person does.

  async ask(question: string): Promise<void> {
    await this.input.fill(question);
    await this.input.press("Enter");
  }

  /** Presses the button that sends. */
  async send(): Promise<void> {
    await this.button(this.say(composerWords).send).click();
  }

  /** Asks, and waits for the whole answer. Returns its text as the server keeps it. */
  async askAndWait(question: string): Promise<string> {
    const n = await this.answers.count();
    await this.ask(question);
    await this.answered(n);
    return this.keptText();
  }

  /** Presses a copy button, and says what is then in the clipboard. */
  async copied(button: Locator): Promise<string> {
    await this.page.bringToFront();
    await this.page.evaluate(() => navigator.clipboard.writeText(""));
    await button.click();
    const read = () => this.page.evaluate(() => navigator.clipboard.readText());
    await expect.poll(read).not.toBe("");
    return read();
  }

  /** The button of an answer with this name; buttons may hide until they are wanted. */
  async buttonOf(message: Locator, name: string): Promise<Locator> {
    await message.hover();
    return message.getByRole("button", { name, exact: true });
  }

  /** Opens the settings from the menu of the bar, at one of their sections. */
  async openSettings(section?: string): Promise<Locator> {
    const text = this.say(appWords);
    await this.page.getByRole("banner").getByRole("button", { name: text.more, exact: true }).click();
    await this.page.getByRole("menuitem", { name: text.settings, exact: true }).click();
    const dialog = this.page.getByRole("dialog", { name: text.settings });
    await dialog.getByRole("tabpanel").waitFor();
    if (section !== undefined) await dialog.getByRole("tab", { name: section, exact: true }).click();
    return dialog;
  }

  async stop(): Promise<void> {
    await this.button(this.say(composerWords).stop).click();
  }

  /** Ends an answer that nobody waits for, so that the model is free for the next story. */
  async stopIfRunning(): Promise<void> {
    const stop = this.button(this.say(composerWords).stop);
    if ((await stop.count()) > 0) await stop.click().catch(() => {});
  }

  async newChat(): Promise<void> {
    await this.button(this.say(appWords).newChat).filter({ visible: true }).first().click();
  }

  // What a person waits for.

  /** Waits until the answer at this place, from 0, has this status. */
  async answered(
    place: number,
    status: "done" | "stopped" | "interrupted" | "failed" = "done",
  ): Promise<Locator> {
    const answer = this.answers.nth(place);
    const ended = answer.getByRole("group", { name: this.say(threadWords).actions });
    await ended.waitFor({ timeout: 90_000 });
    const end = await answer
      .locator("[data-end]")
      .evaluateAll((notes) => notes.map((it) => it.getAttribute("data-end")));
    const known = end.find((name) => name !== null && Object.hasOwn(STATUS_OF_END, name));
    expect(known === undefined || known === null ? "done" : STATUS_OF_END[known]).toBe(status);
    return answer;
  }

  /** Waits until the answer at this place shows some text while it still grows. */
  async growing(place: number): Promise<Locator> {
    const answer = this.answers.nth(place);
    await answer.locator('[data-stage="writing"]').waitFor({ timeout: 60_000 });
    await expect.poll(() => answer.locator(".markdown").textContent(), { timeout: 60_000 }).not.toBe("");
    return answer;
  }

  async connected(): Promise<void> {
    await this.page.locator('[data-link="open"]').first().waitFor();
  }

  // What the server knows.

  /** The id of the open conversation. */
  get conversation(): string {
    const id = /^#\/c\/([\w-]+)/.exec(new URL(this.page.url()).hash)?.[1];
    if (!id) throw new Error(`no conversation is open at ${this.page.url()}`);
    return id;
  }

  /** Asks the HTTP API as this person. */
  async api<T>(path: string, method = "GET", data?: unknown): Promise<T> {
    const url = new URL(`api/v1/${path}`, this.url).href;
    const response = await this.context.request.fetch(url, { method, ...(data !== undefined && { data }) });
    if (!response.ok()) throw new Error(`${method} ${path}: ${response.status()} ${await response.text()}`);
    return (response.status() === 204 ? undefined : await response.json()) as T;
  }

  /** The messages of the open conversation, as the server keeps them. */
  async kept(): Promise<Message[]> {
    const { messages } = await this.api<{ messages: Message[] }>(
      `conversations/${this.conversation}/messages?limit=100`,
    );
    return messages;
  }

  /** The newest answer's text, as the server keeps it. */
  async keptText(): Promise<string> {
    return (await this.kept()).findLast(({ answer }) => answer)?.answer?.text ?? "";
  }

  // What is kept of the visit.

  async screenshot(name: string): Promise<void> {
    await this.page.screenshot({ path: join(import.meta.dirname, "screenshots", `${name}.png`) });
  }

  /** What the browser has asked others for; `[]` once everything is well. */
  frames<T extends ServerFrame["type"]>(type: T): Extract<ServerFrame, { type: T }>[] {
    return this.received.filter((frame) => frame.type === type) as Extract<ServerFrame, { type: T }>[];
  }
}

/** The letters and digits of a text: what Markdown and its rendering have in common. */
export function letters(text: string): string {
  return text.replaceAll(/[^\p{L}\p{N}]+/gu, "");
}
