/** What a reader can rely on with a real model behind the page. */
import type { Browser, WebSocketRoute } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, Visit } from "./browser";

const LONG = "Write a very long story about a lighthouse keeper, with many chapters.";
const SHORT = "Say hello in one short sentence.";

let browser: Browser;
let visit: Visit;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser?.close());
afterEach(async () => {
  expect(visit.problems).toEqual([]);
  await visit.page.context().close();
});

/** Keeps every text the newest answer shows from now on in `window.shown`. */
function recordAnswer(): Promise<void> {
  return visit.page.evaluate(() => {
    const shown: string[] = [];
    Object.assign(window, { shown });
    new MutationObserver(() => {
      const text = [...document.querySelectorAll(".answer")].at(-1)?.textContent;
      if (text && text !== shown.at(-1)) shown.push(text);
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
}

test("an answer grows before the reader's eyes and ends done, byte for byte what was sent", async () => {
  visit = await Visit.start(browser);
  await visit.link("open");
  await recordAnswer();
  await visit.ask("Count from one to twenty in words.");
  await visit.turn(0, "done");
  const shown = await visit.page.evaluate(() => (window as unknown as { shown: string[] }).shown);
  const joined = visit.received.map((frame) => frame.content ?? "").join("");
  expect(shown.length).toBeGreaterThanOrEqual(2);
  expect(shown.every((text, at) => text.startsWith(shown[at - 1] ?? ""))).toBe(true);
  expect(await visit.answers()).toEqual([joined]);
  expect(visit.received.at(-1)).toEqual({ type: "done" });
  expect(visit.sent).toEqual([{ content: "Count from one to twenty in words." }]);
});

test("Enter sends, Shift+Enter does not, and neither does an Enter that composes", async () => {
  visit = await Visit.start(browser);
  const keyboard = await visit.page.context().newCDPSession(visit.page);
  await visit.link("open");
  await visit.input.fill("Say");
  await visit.input.press("Shift+Enter");
  await keyboard.send("Input.imeSetComposition", { text: "你好", selectionStart: 2, selectionEnd: 2 });
  const enter = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 };
  await keyboard.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...enter });
  await keyboard.send("Input.dispatchKeyEvent", { type: "keyUp", ...enter });
  expect(await visit.page.locator(".turn").count()).toBe(0);
  expect(await visit.input.inputValue()).toBe("Say\n你好");
  await keyboard.send("Input.insertText", { text: "你好" });
  await visit.page.waitForTimeout(100); // longer than the grace after a composition
  await visit.input.press("Enter");
  await visit.turn(0, "done");
  expect(visit.sent).toEqual([{ content: "Say\n你好" }]);
});

test("stop ends the answer, says that the model starts afresh, and the next question works", async () => {
  visit = await Visit.start(browser);
  await visit.link("open");
  await visit.ask(LONG);
  await visit.page.locator(".answer").waitFor();
  await visit.page.getByRole("button", { name: "Stop" }).click();
  const stopped = await visit.turn(0, "stopped");
  const kept = await stopped.locator(".answer").textContent();
  expect(await visit.page.locator('.break[data-reason="stopped"]').count()).toBe(1);
  await visit.ask(SHORT);
  await visit.turn(1, "done");
  expect((await visit.answers())[0]).toBe(kept);
  expect(visit.received.filter((frame) => frame.type === "done")).toHaveLength(1);
});

test("new chat empties the thread and the model's memory", async () => {
  visit = await Visit.start(browser);
  await visit.link("open");
  await visit.ask(SHORT);
  await visit.turn(0, "done");
  const reset = visit.page.getByRole("button", { name: "New chat" });
  await reset.click();
  await expect.poll(() => visit.received.at(-1)).toEqual({ type: "reset_ok" });
  expect(await visit.page.locator(".turn, .break").count()).toBe(0);
  await visit.ask(SHORT);
  await visit.turn(0, "done");
  expect(visit.sent).toEqual([{ content: SHORT }, { type: "reset" }, { content: SHORT }]);
});

test("a lost connection is shown, kept questions go out when it is back, and Retry asks again", async () => {
  let down = false;
  let socket: WebSocketRoute | undefined;
  visit = await Visit.start(browser, {}, (page) =>
    page.routeWebSocket(/\/api\/v1\/ws\/chat$/, (route) => {
      if (down) return void route.close({ code: 1012 });
      socket = route;
      route.connectToServer();
    }),
  );
  await visit.link("open");
  await visit.ask(LONG);
  await visit.page.locator(".answer").waitFor();
  down = true;
  await socket?.close({ code: 1012 });
  await visit.link("waiting");
  await visit.turn(0, "failed");
  await visit.ask(SHORT);
  await visit.input.fill("my draft");
  await visit.turn(1, "waiting");
  await visit.screenshot("lost");
  down = false;
  await visit.turn(1, "done");
  await visit.link("open");
  await visit.page.getByRole("button", { name: "Retry" }).click();
  await visit.turn(1, "answering");
  expect(await visit.input.inputValue()).toBe("my draft");
});

test.each([
  { name: "light", options: { colorScheme: "light" } as const, ground: "rgb(250, 249, 246)" },
  { name: "dark", options: { colorScheme: "dark" } as const, ground: "rgb(22, 23, 22)" },
])("the page is readable in $name", async ({ name, options, ground }) => {
  visit = await Visit.start(browser, options);
  await visit.ask(SHORT);
  await visit.turn(0, "done");
  expect(await visit.page.evaluate(() => getComputedStyle(document.body).backgroundColor)).toBe(ground);
  await visit.screenshot(name);
});
