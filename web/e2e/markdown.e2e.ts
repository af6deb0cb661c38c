/** How answers read: the rendered elements, while they are being written and at the end. */
import { expect, test } from "vitest";
import { words as markdownWords } from "../src/markdown/words";
import { openDocument } from "./documents";
import { SAMPLE } from "./sample";
import { scripted, visits } from "./stories";
import type { Step } from "./upstream";
import type { Visit, VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

const LOOKS: [string, VisitOptions][] = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["phone", { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 }],
  ["lying-phone", { viewport: { width: 740, height: 340 }, isMobile: true, hasTouch: true }],
  ["forced-colours", { forcedColors: "active" }],
  ["chinese", { language: "zh-CN" }],
];

test.each(LOOKS)("everything that an answer can hold reads well (%s)", async (name, options) => {
  visit = await visitPage(options);
  await openDocument(visit, "What is a lighthouse?", SAMPLE);
  const answers = visit.answers;
  const first = answers.first();
  await first.getByRole("heading", { name: "A lighthouse, in short" }).waitFor();
  await first.getByRole("table").waitFor();
  await expect.poll(() => first.locator(".katex").count()).toBeGreaterThan(1);
  await expect.poll(() => first.locator("pre [class^=code-]").count()).toBeGreaterThan(5);
  expect(await answers.nth(1).locator("strong").allTextContents()).toEqual(["灯塔", "灯", "透镜", "塔身"]);
  expect(
    await answers
      .nth(2)
      .locator("p, li")
      .first()
      .evaluate((it) => getComputedStyle(it).direction),
  ).toBe("rtl");
  for (const [at, answer] of (await answers.all()).entries()) {
    await answer.scrollIntoViewIfNeeded();
    await visit.screenshot(`markdown-${name}-${at}`);
  }
  const sideways = await visit.page.getByRole("main").evaluate((it) => it.scrollWidth - it.clientWidth);
  expect(sideways).toBe(0);
});

test("a block of code copies exactly, and a formula as LaTeX", async () => {
  visit = await visitPage();
  await openDocument(visit, "What is a lighthouse?", SAMPLE);
  const text = visit.say(markdownWords);
  const first = visit.answers.first();
  const answer = SAMPLE[0]?.[1] ?? "";
  const code = /```python\n([\s\S]*?)```/.exec(answer)?.[1];
  expect(await visit.copied(first.getByRole("button", { name: text.copyCode }))).toBe(
    code?.replace(/\n$/, ""),
  );
});

test("a remote image is a chip with its host, and is fetched only when somebody wants it", async () => {
  visit = await visitPage();
  await openDocument(visit, "What is a lighthouse?", SAMPLE);
  const text = visit.say(markdownWords);
  const first = visit.answers.first();
  expect(await first.locator("img").count()).toBe(0);
  await first.getByText(text.imageFrom("example.com")).waitFor();
  const links = first.locator("a[href^='http']");
  for (const link of await links.all()) {
    expect(await link.getAttribute("rel")).toMatch(/noopener/);
    expect(await link.getAttribute("target")).toBe("_blank");
  }
});

test("what is written already does not flicker while the rest comes", async () => {
  const { upstream, url } = await scripted();
  visit = await visitPage({ url: url });
  await visit.connected();
  const text = SAMPLE[0]?.[1] ?? "";
  upstream.script = function* (): Iterable<Step> {
    for (const piece of text.match(/[\s\S]{1,9}/g) ?? []) yield* [{ text: piece }, { pause: 15 }];
  };
  await visit.ask("Go.");
  await visit.growing(0);
  const heading = await visit.answers.first().getByRole("heading").elementHandle();
  const losses = await visit.page.evaluateHandle(() => {
    const losses: string[] = [];
    const answer = document.querySelector("article.answer .markdown");
    if (answer)
      new MutationObserver((changes) => {
        for (const { removedNodes } of changes)
          for (const node of removedNodes)
            if (node instanceof HTMLElement && /^(H2|TABLE|OL|UL|BLOCKQUOTE)$/.test(node.tagName))
              losses.push(node.tagName);
      }).observe(answer, { childList: true, subtree: true });
    return losses;
  });
  await visit.answered(0);
  expect(await heading?.evaluate((it) => it.isConnected)).toBe(true);
  expect(await losses.jsonValue()).toEqual([]);
});
