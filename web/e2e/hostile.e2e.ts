/** Nothing that a model, a file or a title says runs or fetches anything. */
import { expect, test } from "vitest";
import { words as sidebarWords } from "../src/sidebar/words";
import { HOSTILE } from "../test/markdown/hostile";
import { openDocument } from "./documents";
import { Gateway } from "./gateway";
import { visits } from "./stories";
import { type Step, Upstream } from "./upstream";
import type { Visit } from "./visit";

const TEXTS = HOSTILE.map(({ text }) => text);

const visitPage = visits();
let visit: Visit;

/** Starts a visit in which a script that runs is a problem, whatever it does. */
async function start(url?: string): Promise<void> {
  visit = await visitPage({
    ...(url !== undefined && { url }),
    prepare: async (page) => {
      page.on("dialog", (dialog) => {
        visit.problems.push(`dialog: ${dialog.message()}`);
        void dialog.dismiss();
      });
      page.on("popup", (popup) => visit.problems.push(`popup: ${popup.url()}`));
      page.on("framenavigated", (frame) => {
        if (frame !== page.mainFrame()) visit.problems.push(`frame: ${frame.url()}`);
      });
    },
  });
}

/** What the page's elements must not be, whatever they show. */
function dangers(): Promise<string[]> {
  return visit.log.evaluate((log) => {
    if ("harmed" in window) return ["a script ran"];
    const elements = [...log.querySelectorAll("*")];
    const forbidden = "script, iframe, frame, object, embed, form, base, meta, link, audio, video, style";
    const found = elements.filter((element) => element.matches(forbidden)).map(({ outerHTML }) => outerHTML);
    for (const element of elements) {
      for (const { name, value } of element.attributes) {
        if (name.startsWith("on")) found.push(`${name}=${value}`);
        if (["href", "src", "xlink:href", "action", "formaction", "srcset", "poster"].includes(name)) {
          const safe = /^(https?:|mailto:|#|data:image\/(png|jpeg|gif|webp)[;,]|blob:)/i.test(value);
          if (!safe) found.push(`${name}=${value}`);
        }
      }
      if (element.matches("img") && !/^(data:|blob:)/.test(element.getAttribute("src") ?? ""))
        found.push(`image ${element.getAttribute("src")}`);
    }
    return found;
  });
}

test(`${TEXTS.length} hostile answers run no script and send no request`, async () => {
  expect(TEXTS.length).toBeGreaterThanOrEqual(100);
  await start();
  for (let at = 0; at < TEXTS.length; at += 25) {
    const turns = TEXTS.slice(at, at + 25).map((payload) => ["What do you say?", payload] as const);
    await openDocument(visit, `Hostile from ${at}`, turns);
    expect(await visit.answers.count()).toBe(turns.length);
    for (const answer of await visit.answers.all()) await answer.scrollIntoViewIfNeeded();
    expect(await dangers()).toEqual([]);
  }
});

test("hostile questions, titles and file names run no script and send no request", async () => {
  await start();
  for (let at = 0; at < TEXTS.length; at += 25) {
    const turns = TEXTS.slice(at, at + 25).map((payload) => [payload, "I see."] as const);
    await openDocument(visit, TEXTS[at]?.slice(0, 100) ?? "", turns);
    expect(await dangers()).toEqual([]);
  }
  const sidebar = visit.page.getByRole("navigation", { name: visit.say(sidebarWords).conversations });
  expect(await sidebar.locator("script, img, iframe").count()).toBe(0);
});

test("hostile answers run no script while they are being written, wherever they are cut", async () => {
  const upstream = await Upstream.start();
  const gateway = await Gateway.start({ upstream: upstream.address });
  try {
    await start(gateway.url);
    const text = TEXTS.join("\n\n");
    upstream.script = function* (): Iterable<Step> {
      // Seven characters at a time: every tag and every link is half-written for a moment.
      for (const piece of text.match(/[\s\S]{1,7}/gu) ?? []) yield* [{ text: piece }, { pause: 1 }];
    };
    await visit.ask("Attack.");
    await visit.answered(0);
    expect(await dangers()).toEqual([]);
    expect(await visit.keptText()).toBe(text);
  } finally {
    await gateway.close();
    upstream.close();
  }
});
