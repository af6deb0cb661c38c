/** What people rely on who see, hear or move otherwise: axe finds nothing, and what axe cannot see is right, too. */
import type { Locator } from "playwright-core";
import { describe, expect, test } from "vitest";
import { words as composerWords } from "../src/composer/words";
import { words as sidebarWords } from "../src/sidebar/words";
import { findings } from "./axe";
import { openDocument } from "./documents";
import { ENGLISH, SPEAKERS } from "./languages";
import { SAMPLE } from "./sample";
import { visits } from "./stories";
import type { Visit, VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

const PHONE = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
const LOOKS: [string, VisitOptions][] = [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["forced colours", { forcedColors: "active" }],
  ["a phone", PHONE],
  ["a dark phone in Chinese", { ...PHONE, colorScheme: "dark", language: "zh-CN" }],
  ["Chinese", { language: "zh-CN" }],
];

describe.each(LOOKS)("axe finds nothing in %s", (_name, options) => {
  test("on the first page, in a conversation, and in every dialog", async () => {
    visit = await visitPage(options);
    await visit.connected();
    expect(await findings(visit.page)).toEqual([]);
    await openDocument(visit, "Everything", SAMPLE);
    await visit.answers.last().hover();
    expect(await findings(visit.page)).toEqual([]);
    for (const panel of ["Control+k", "Control+/"]) {
      await visit.page.keyboard.press(panel);
      await visit.page.getByRole("dialog").waitFor();
      expect(await findings(visit.page)).toEqual([]);
      await visit.page.keyboard.press("Escape");
    }
    await visit.openSettings();
    expect(await findings(visit.page)).toEqual([]);
  });
});

test.each(SPEAKERS)("an answer is announced once, at its end, in $language", async ({ language, short }) => {
  visit = await visitPage({ language });
  await visit.connected();
  const spoken = visit.page.getByRole("status");
  const heard = await visit.page.evaluateHandle(() => {
    const heard: string[] = [];
    new MutationObserver(() => {
      for (const region of document.querySelectorAll("[role=status]")) {
        const text = region.textContent?.trim();
        if (text && !heard.includes(text)) heard.push(text);
      }
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
    return heard;
  });
  const text = await visit.askAndWait(short);
  const begin = text
    .replaceAll(/[^\p{L}\p{N}]+/gu, " ")
    .trim()
    .slice(0, 20);
  const said = async () =>
    ((await heard.jsonValue()) as string[]).filter((line) =>
      line.replaceAll(/[^\p{L}\p{N}]+/gu, " ").includes(begin),
    );
  await expect.poll(said).toHaveLength(1);
  expect(await visit.log.getAttribute("aria-live")).toBe("off");
  expect(await spoken.count()).toBeGreaterThan(0);
});

test("the page fits at 200 % zoom, on a phone of 360 px and on one that lies on its side", async () => {
  visit = await visitPage({ deviceScaleFactor: 2, viewport: { width: 640, height: 360 } });
  await openDocument(visit, "Everything", SAMPLE);
  for (const viewport of [
    { width: 640, height: 360 },
    { width: 360, height: 740 },
    { width: 740, height: 340 },
  ]) {
    await visit.page.setViewportSize(viewport);
    expect(await sideways(visit.page.locator("html"))).toBe(0);
    expect(await sideways(visit.page.getByRole("main"))).toBe(0);
    expect(await sideways(visit.answers.last().locator(".markdown"))).toBe(0);
    expect(await sideways(visit.button("Everything"))).toBe(0);
    const field = await visit.input.boundingBox();
    expect((field?.y ?? 0) + (field?.height ?? 0)).toBeLessThanOrEqual(viewport.height);
    const log = await visit.page.getByRole("main").boundingBox();
    expect(log?.height).toBeGreaterThan(viewport.height * 0.4);
  }
});

/** How far an element can be scrolled sideways. */
function sideways(element: Locator): Promise<number> {
  return element.evaluate((it) => it.scrollWidth - it.clientWidth);
}

test("who wants no motion gets none", async () => {
  visit = await visitPage({ reducedMotion: "reduce" });
  await visit.connected();
  await visit.ask(ENGLISH.short);
  await visit.growing(0);
  const moving = () =>
    visit.page.evaluate(() =>
      document
        .getAnimations()
        .filter(
          ({ playState, effect }) =>
            playState === "running" && Number(effect?.getComputedTiming().duration) > 1,
        )
        .map((animation) => (animation as CSSAnimation).animationName),
    );
  expect(await moving()).toEqual([]);
  await visit.answered(0);
});

test("the keyboard reaches everything in an order that makes sense, and the focus can be seen", async () => {
  visit = await visitPage();
  await visit.connected();
  const text = visit.say(sidebarWords);
  const names: string[] = [];
  await visit.page.evaluate(() => (document.activeElement as HTMLElement | null)?.blur());
  for (let step = 0; step < 25; step += 1) {
    await visit.page.keyboard.press("Tab");
    const focus = await visit.page.evaluate(() => {
      const element = document.activeElement as HTMLElement;
      // The field for a message has its focus drawn around the composer.
      const drawn = element.closest("form") ?? element;
      const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(
        element.matches("textarea") ? drawn : element,
      );
      const seen = (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none";
      const name = element.getAttribute("aria-label") ?? element.textContent ?? "";
      return { name: name.trim(), seen, tag: element.tagName };
    });
    // Between the last element and the first one is the browser itself.
    if (focus.tag === "BODY") continue;
    expect(focus).toEqual({ ...focus, seen: true });
    names.push(focus.name);
  }
  // The side bar comes before the chat, and its keys stand beside the names.
  const at = (name: string) => names.findIndex((found) => found.startsWith(name));
  const order = [text.newChat, text.search, visit.say(composerWords).message].map(at);
  expect(order).toEqual(order.toSorted((a, b) => a - b));
  expect(Math.min(...order)).toBeGreaterThan(-1);
});
