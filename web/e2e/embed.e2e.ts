/**
 * The example app in a real browser: Acorn Books (examples/embed), on an origin of its own, with `<corral-chat>` from a
 * gateway that takes the app's tokens. The model is the chain's.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import type { Browser, BrowserContext, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { words as appWords } from "../src/app/appWords";
import { words as composerWords } from "../src/composer/words";
import { findings } from "./axe";
import { launch } from "./browser";
import { freePorts, Gateway } from "./gateway";

const SECRET = "a-secret-of-thirty-two-characters-or-more";
const AUDIENCE = "corral";
const SERVER = resolve(import.meta.dirname, "../../examples/embed/server.mjs");
/** The gateway takes a token for 30 s after its end, because clocks differ: these last 4 s. */
const SHORT_TOKEN_SECONDS = -26;

let browser: Browser;
let gateway: Gateway;
let shop: Shop;
let hastyShop: Shop;
let strangeShop: Shop;

beforeAll(async () => {
  browser = await launch();
  const ports = await freePorts(3);
  const [origin, hasty] = ports.map((port) => `http://127.0.0.1:${port}`);
  gateway = await Gateway.start({
    settings: {
      GATEWAY_AUTH: "jwt",
      GATEWAY_JWT_SECRET: SECRET,
      GATEWAY_JWT_AUDIENCE: AUDIENCE,
      GATEWAY_ALLOWED_ORIGINS: `${origin},${hasty}`,
      GATEWAY_MAX_TOKENS: "48",
    },
  });
  const [port, hastyPort, strangePort] = ports as [number, number, number];
  shop = await Shop.start(port, { GATEWAY_URL: gateway.url });
  hastyShop = await Shop.start(hastyPort, {
    GATEWAY_URL: gateway.url,
    TOKEN_SECONDS: `${SHORT_TOKEN_SECONDS}`,
  });
  strangeShop = await Shop.start(strangePort, { GATEWAY_URL: gateway.url });
});

afterAll(async () => {
  for (const each of [shop, hastyShop, strangeShop]) each?.stop();
  await gateway?.close();
  await browser?.close();
});

class Shop {
  readonly url: string;
  readonly #process: ChildProcess;

  private constructor(url: string, process: ChildProcess) {
    this.url = url;
    this.#process = process;
  }

  static async start(port: number, settings: Record<string, string>): Promise<Shop> {
    const env = {
      PORT: `${port}`,
      GATEWAY_JWT_SECRET: SECRET,
      GATEWAY_JWT_AUDIENCE: AUDIENCE,
      ...settings,
    };
    const started = spawn(process.execPath, [SERVER], { env, stdio: ["ignore", "pipe", "inherit"] });
    const [line] = await once(createInterface(started.stdout), "line");
    expect(line).toContain(`http://127.0.0.1:${port}`);
    return new Shop(`http://127.0.0.1:${port}/`, started);
  }

  stop(): void {
    this.#process.kill();
  }
}

type Frame = { type: string; [field: string]: unknown };

/** Somebody in the shop. */
class Customer {
  readonly page: Page;
  readonly sent: Frame[] = [];
  readonly received: Frame[] = [];
  readonly problems: string[] = [];
  readonly requests: string[] = [];

  private constructor(page: Page) {
    this.page = page;
    page.on("console", (message) => message.type() === "error" && this.problems.push(message.text()));
    page.on("pageerror", (error) => this.problems.push(`exception: ${error.message}`));
    page.on("request", (request) => this.requests.push(request.url()));
    page.on("websocket", (socket) => {
      socket.on("framesent", ({ payload }) => this.sent.push(JSON.parse(String(payload))));
      socket.on("framereceived", ({ payload }) => this.received.push(JSON.parse(String(payload))));
    });
  }

  /** Signs in, as somebody new or in the browser that another has used. */
  static async enter({ url }: Shop, name: "alice" | "bob", context?: BrowserContext): Promise<Customer> {
    const visited = context ?? (await browser.newContext({ locale: "en-US" }));
    const customer = new Customer(await visited.newPage());
    const { page } = customer;
    await page.goto(url);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill({ alice: "wonderland", bob: "builder" }[name]);
    await page.getByRole("button", { name: "Sign in" }).click();
    await customer.connected();
    return customer;
  }

  get chat(): Locator {
    return this.page.locator("corral-chat").first();
  }

  get input(): Locator {
    return field(this.chat);
  }

  connected(chat: Locator = this.chat): Promise<void> {
    return chat.locator('[data-link="open"]').waitFor();
  }

  async ask(question: string, chat: Locator = this.chat): Promise<string> {
    const before = await this.page.locator("corral-chat").evaluateAll((all) => all.length);
    expect(before).toBeGreaterThan(0);
    const answered = chat.evaluate(
      (element) =>
        new Promise<string>((resolve) => {
          const told = (event: Event) => resolve((event as CustomEvent).detail.answer);
          element.addEventListener("corral-answer", told, { once: true });
        }),
    );
    await field(chat).fill(question);
    await field(chat).press("Enter");
    return answered;
  }

  /** What is open in the chat. */
  open(): Promise<string | undefined> {
    return this.chat.evaluate((element) => (element as unknown as { conversation?: string }).conversation);
  }

  async leave(): Promise<void> {
    expect(this.problems).toEqual([]);
    await this.page.context().close();
  }
}

function field(chat: Locator): Locator {
  return chat.getByRole("textbox", { name: composerWords.en.message, exact: true });
}

function screenshot(page: Page, name: string): Promise<unknown> {
  return page.screenshot({ path: resolve(import.meta.dirname, "screenshots", `embed-${name}.png`) });
}

test("alice signs in to the shop, asks the chat in its page, and reads an answer of the model", async () => {
  const alice = await Customer.enter(shop, "alice");
  const answer = await alice.ask("Name a book about the sea.");
  const text = alice.received
    .filter((frame) => frame.type === "delta" && frame.answer === answer)
    .map((frame) => frame.text ?? "")
    .join("");
  expect(text.trim()).not.toBe("");
  await expect.poll(() => alice.page.locator("#told").textContent()).toBe("The assistant has answered once.");
  const hosts = new Set(alice.requests.map((url) => new URL(url).host));
  expect([...hosts].sort()).toEqual([new URL(shop.url).host, new URL(gateway.url).host].sort());
  await screenshot(alice.page, "alice");
  await alice.leave();
});

test("bob, who signs in to the same browser after alice, finds nothing of hers", async () => {
  const alice = await Customer.enter(shop, "alice");
  await alice.ask("My secret word is heliotrope.");
  const conversation = await alice.open();
  await alice.input.fill("heliotrope, not sent");
  await expect
    .poll(() => alice.page.evaluate(() => JSON.stringify(localStorage)))
    .toContain("heliotrope, not sent");
  await alice.page.getByRole("button", { name: "Sign out" }).click();
  const bob = await Customer.enter(shop, "bob", alice.page.context());
  expect(await bob.input.inputValue()).toBe("");
  await bob.chat.evaluate(
    (element, id) => (element as unknown as { open(id?: string): void }).open(id),
    conversation,
  );
  // The browser's console tells of the 404, which is the point.
  await expect.poll(() => bob.problems.some((problem) => problem.includes("404"))).toBe(true);
  const shown = await bob.chat.evaluate((element) => element.shadowRoot?.textContent ?? "");
  expect(shown).not.toContain("heliotrope");
  await bob.page.context().close();
});

test("a token that ends is replaced by the next one, and the chat goes on", async () => {
  const alice = await Customer.enter(hastyShop, "alice");
  const hellos = () => alice.sent.filter(({ type }) => type === "hello");
  await expect.poll(() => hellos().length, { timeout: 20_000 }).toBeGreaterThan(1);
  await alice.connected();
  const tickets = hellos().map(({ ticket }) => ticket);
  expect(new Set(tickets).size).toBe(tickets.length);
  await alice.ask("Name a colour.");
  await alice.leave();
});

test("the shop's colours, corners and type are the chat's, and its styles are not", async () => {
  const alice = await Customer.enter(shop, "alice");
  const looks = await alice.chat.evaluate((element) => {
    const chat = element.shadowRoot?.querySelector(".corral");
    const { backgroundColor, fontFamily } = getComputedStyle(chat as Element);
    const button = getComputedStyle(element.shadowRoot?.querySelector("button.icon-button") as Element);
    const probe = document.createElement("span");
    probe.style.color = "var(--accent)";
    chat?.append(probe);
    const accent = getComputedStyle(probe).color;
    probe.remove();
    return { backgroundColor, accent, type: fontFamily.split(",")[0], border: button.borderTopColor };
  });
  expect(looks).toEqual({
    backgroundColor: "rgb(253, 251, 255)",
    accent: "rgb(107, 47, 179)",
    type: "Georgia",
    border: "rgba(0, 0, 0, 0)",
  });
  await alice.leave();
});

test("axe finds nothing in the chat of an app's page, with its list and its settings", async () => {
  const alice = await Customer.enter(shop, "alice");
  const found = () => findings(alice.page, "corral-chat");
  await alice.ask("Name a book about the sea.");
  expect(await found()).toEqual([]);
  await alice.chat.evaluate((element) => {
    element.style.width = "22rem";
  });
  const { openSidebar, more, settings } = appWords.en;
  await alice.chat.getByRole("button", { name: openSidebar }).click();
  expect(await found()).toEqual([]);
  await alice.page.keyboard.press("Escape");
  await alice.chat.getByRole("button", { name: more, exact: true }).click();
  await alice.page.getByRole("menuitem", { name: settings, exact: true }).click();
  await alice.page.getByRole("tabpanel").waitFor();
  expect(await found()).toEqual([]);
  await alice.leave();
});

test("two chats of one page are apart", async () => {
  const alice = await Customer.enter(shop, "alice");
  await alice.page.evaluate(() => {
    const second = document.createElement("corral-chat") as HTMLElement & { token?: unknown };
    const first = document.querySelector("corral-chat") as HTMLElement & { token?: unknown };
    second.id = "second";
    second.setAttribute("user", "alice");
    second.setAttribute("language", "zh-CN");
    second.setAttribute("theme", "dark");
    second.token = first.token;
    second.style.height = "30rem";
    document.querySelector("section")?.append(second);
  });
  const second = alice.page.locator("#second");
  await alice.connected(second);
  const first = alice.page.locator("main > corral-chat");
  await alice.ask("Say apple.", first);
  const field2 = second.getByRole("textbox", { name: composerWords["zh-CN"].message, exact: true });
  await field2.fill("梨");
  expect(await field(first).inputValue()).toBe("");
  expect(await second.locator(".main").textContent()).not.toContain("Say apple.");
  expect(await first.locator(".main").textContent()).toContain("Say apple.");
  await screenshot(alice.page, "two");
  await alice.leave();
});

test("the chat follows the width of its box, not the screen's", async () => {
  const alice = await Customer.enter(shop, "alice");
  await alice.chat.evaluate((element) => {
    element.style.width = "22rem";
  });
  const width = () =>
    alice.chat.evaluate((element) => {
      const main = element.shadowRoot?.querySelector(".main");
      return [element.shadowRoot?.querySelector<HTMLElement>(".corral")?.dataset.width, main?.clientWidth];
    });
  await expect.poll(width).toEqual(["narrow", 352]);
  await screenshot(alice.page, "narrow");
  await alice.chat.getByRole("button", { name: appWords.en.openSidebar }).click();
  await screenshot(alice.page, "narrow-list");
  await alice.leave();
});

test("an element that is moved keeps its connection, and one that is removed ends it", async () => {
  const alice = await Customer.enter(shop, "alice");
  const hellos = () => alice.sent.filter(({ type }) => type === "hello").length;
  await alice.page.evaluate(() => {
    const chat = document.querySelector("corral-chat");
    if (chat) document.querySelector("section")?.prepend(chat);
  });
  await alice.ask("Name a colour.");
  expect(hellos()).toBe(1);
  const closed = alice.page.waitForFunction(() => !document.querySelector("corral-chat"));
  await alice.page.evaluate(() => document.querySelector("corral-chat")?.remove());
  await closed;
  await alice.leave();
});

test("a shop that the gateway does not know gets no connection and no answer", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(strangeShop.url);
  await page.getByLabel("Name").fill("alice");
  await page.getByLabel("Password").fill("wonderland");
  await page.getByRole("button", { name: "Sign in" }).click();
  const refused = page.locator("corral-chat").locator('[data-link="waiting"], [data-link="closed"]');
  await refused.first().waitFor();
  await context.close();
});
