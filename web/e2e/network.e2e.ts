/** What a person can rely on when the line breaks, the gateway dies, the tab sleeps, or another tab is open. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { words as appWords } from "../src/app/appWords";
import { words as threadWords } from "../src/thread/words";
import { launch } from "./browser";
import { Gateway } from "./gateway";
import { ENGLISH, LONG_ANSWER, SPEAKERS } from "./languages";
import { Line } from "./line";
import { letters, Visit } from "./visit";

/** What a browser says of sockets and requests that fail. */
const BROKEN = /WebSocket connection to|Failed to load resource|net::ERR_/;
/** How long a tab stays frozen: long enough for the answer to end meanwhile, or five minutes when there is time. */
const FREEZE_MS = process.env.CORRAL_LONG ? 300_000 : 15_000;
const preferences = { options: LONG_ANSWER };

let browser: Browser;
const ends: (() => Promise<void> | void)[] = [];

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser?.close());
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

async function visit(options: Parameters<typeof Visit.start>[1] = {}): Promise<Visit> {
  const visit = await Visit.start(browser, { preferences, expected: BROKEN, ...options });
  ends.push(() => visit.end());
  await visit.connected();
  return visit;
}

async function lineTo(...where: Parameters<typeof Line.open>): Promise<Line> {
  const line = await Line.open(...where);
  ends.push(() => line.close());
  return line;
}

async function ownGateway(): Promise<Gateway> {
  const gateway = await Gateway.start();
  ends.push(() => gateway.close());
  return gateway;
}

describe.each(SPEAKERS)(
  "a gateway that is killed in mid-answer, in $language",
  ({ language, long, short }) => {
    test("keeps what was written, takes what was asked meanwhile, and goes on when asked", async () => {
      const gateway = await ownGateway();
      const me = await visit({ language, url: gateway.url });
      const text = me.say(threadWords);
      await me.ask(long);
      const answer = await me.growing(0);
      await gateway.kill();
      await me.page.locator('[data-link="waiting"]').first().waitFor();
      const seen = await answer.locator(".markdown").innerText();
      await me.ask(short);
      await me.input.fill("a draft");
      await me.screenshot(`killed-${language}`);
      await gateway.startAgain();
      await me.connected();
      await me.answered(0, "interrupted");
      // More of what had come may be shown meanwhile, never less.
      expect((await answer.locator(".markdown").innerText()).startsWith(seen)).toBe(true);
      await me.answered(1);
      expect(await me.input.inputValue()).toBe("a draft");
      const kept = await me.kept();
      expect(kept.map(({ role }) => role)).toEqual(["user", "assistant", "user", "assistant"]);
      await answer.hover();
      await answer.getByRole("button", { name: text.continue }).click();
      await me.growing(0);
    });
  },
);

test("an answer over a slow line grows as it is written and is whole", async () => {
  const line = await lineTo(undefined, { latencyMs: 300, bytesPerSecond: 50_000 });
  const me = await visit({ url: line.url });
  await me.ask(ENGLISH.long);
  await me.growing(0);
  await me.answered(0);
  await expectShownAsKept(me);
});

test("an answer over a line that is cut again and again is whole, byte for byte", async () => {
  const line = await lineTo();
  const me = await visit({ url: line.url });
  await me.ask(ENGLISH.long);
  await me.growing(0);
  for (let cut = 0; cut < 4; cut += 1) {
    const before = me.frames("welcome").length;
    line.cut();
    await expect.poll(() => me.frames("welcome").length, { timeout: 30_000 }).toBeGreaterThan(before);
  }
  await me.answered(0);
  await expectShownAsKept(me);
  expect((await me.kept()).length).toBe(2);
});

test("a line that falls silent without a word is noticed, and the answer goes on", async () => {
  const line = await lineTo();
  const me = await visit({ url: line.url });
  await me.ask(ENGLISH.long);
  await me.growing(0);
  line.silence();
  await me.answered(0);
  await expectShownAsKept(me);
});

test("a page that goes offline says so, loses no message, and connects at once when it is back", async () => {
  const line = await lineTo();
  const me = await visit({ url: line.url });
  const text = me.say(appWords);
  line.down();
  await me.context.setOffline(true);
  await me.page.getByText(text.offline).first().waitFor();
  await me.ask(ENGLISH.short);
  await expect.poll(() => me.questions.count()).toBe(1);
  await me.screenshot("offline");
  line.up();
  await me.context.setOffline(false);
  await me.connected();
  await me.answered(0);
  expect((await me.kept()).length).toBe(2);
});

test("a message that is sent while the page cannot connect survives a reload and is sent once", async () => {
  const gateway = await ownGateway();
  const me = await visit({ url: gateway.url });
  await me.askAndWait(ENGLISH.short);
  const other = await me.tab();
  ends.push(() => expect(other.problems).toEqual([]));
  await other.connected();
  await gateway.kill();
  await me.page.locator('[data-link="waiting"]').first().waitFor();
  await me.ask("And once more.");
  await expect.poll(() => me.questions.count()).toBe(2);
  await gateway.startAgain();
  await me.page.reload();
  await me.answered(1);
  await other.answered(1);
  expect((await me.kept()).length).toBe(4);
});

test("a reload in mid-answer goes on where the server is, and shows the same text", async () => {
  const me = await visit();
  await me.ask(ENGLISH.long);
  await me.growing(0);
  await me.page.reload();
  await me.growing(0);
  await me.answered(0);
  await expectShownAsKept(me);
  expect((await me.kept()).length).toBe(2);
});

test("two tabs show the same answer as it grows, and what one stops is stopped in both", async () => {
  const me = await visit();
  await me.ask(ENGLISH.long);
  await me.growing(0);
  const other = await me.tab();
  await other.growing(0);
  await other.stop();
  await Promise.all([me.answered(0, "stopped"), other.answered(0, "stopped")]);
  await expectShownAsKept(me);
  await expectShownAsKept(other);
  await other.ask(ENGLISH.short);
  await me.answered(1);
  expect(other.problems).toEqual([]);
});

test("a page whose browser comes back as somebody else begins anew, with nothing of the first one's", async () => {
  const line = await lineTo();
  const me = await visit({ url: line.url });
  const kept = () => me.page.evaluate(() => JSON.stringify(localStorage));
  await me.input.fill("for my eyes only");
  await expect.poll(kept).toContain("for my eyes only");
  await me.context.clearCookies();
  const begunAnew = me.page.waitForEvent("load");
  line.cut();
  await begunAnew;
  await me.connected();
  expect(await me.input.inputValue()).toBe("");
  const [first, second, third] = me.frames("welcome").map(({ user }) => user.id);
  expect(second).not.toBe(first);
  expect(third).toBe(second);
});

test("a conversation that is left in mid-answer is answered all the same, and nothing is mixed", async () => {
  const me = await visit();
  await me.ask(ENGLISH.long);
  await me.growing(0);
  const first = me.conversation;
  await me.newChat();
  await expect.poll(() => me.answers.count()).toBe(0);
  await me.ask(ENGLISH.short);
  await me.answered(0);
  expect((await me.kept()).length).toBe(2);
  await me.page.goBack();
  await me.page.goBack();
  expect(me.conversation).toBe(first);
  await me.answered(0);
  await expectShownAsKept(me);
});

test(
  "a tab that was frozen while the answer was written shows all of it when it wakes",
  async () => {
    const me = await visit();
    await me.ask(ENGLISH.long);
    await me.growing(0);
    const cdp = await me.context.newCDPSession(me.page);
    await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
    await new Promise((resolve) => setTimeout(resolve, FREEZE_MS));
    await cdp.send("Page.setWebLifecycleState", { state: "active" });
    await me.answered(0);
    await expectShownAsKept(me);
    await me.connected();
  },
  FREEZE_MS + 120_000,
);

/** What the copy button of the last answer gives is the server's text, and its words are on the page. */
async function expectShownAsKept(me: Visit): Promise<void> {
  const kept = await me.keptText();
  const copy = await me.buttonOf(me.answers.last(), me.say(threadWords).copy);
  expect(await me.copied(copy)).toBe(kept);
  expect(letters(await me.answers.last().locator(".markdown").innerText())).toBe(letters(kept));
}
