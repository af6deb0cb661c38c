/**
 * The pictures of README: the page as it is, with conversations that somebody could have. The screenshots `picture-light`,
 * `picture-dark` and `picture-phone` are docs/images/page.png, page-dark.png and page-phone.zh-CN.png.
 */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { launch } from "./browser";
import { documentOf } from "./documents";
import { Gateway } from "./gateway";
import { Upstream } from "./upstream";
import { Visit, type VisitOptions } from "./visit";

const ENGLISH = {
  titles: ["Reply to the landlord", "Regex for dates", "Names for a bakery", "Trip to Qingdao"],
  question: "How far can a lighthouse be seen? Give me the formula and a few lines of Python.",
  answer: `Only the **curve of the Earth** limits it on a clear night. With the light at height $h$ and your eye at $e$, both in metres:

$$d = 2.08\\,\\bigl(\\sqrt{h} + \\sqrt{e}\\bigr)\\ \\text{nautical miles}$$

| Light | Eye on deck | Seen from |
|---|--:|--:|
| 20 m | 3 m | 12.9 miles |
| 60 m | 3 m | 19.7 miles |

\`\`\`python
def seen_from(light_m: float, eye_m: float = 3.0) -> float:
    """How far a light is seen, in nautical miles."""
    return 2.08 * (light_m**0.5 + eye_m**0.5)
\`\`\`

Fog and rain make it less.`,
};

const CHINESE = {
  titles: ["给房东的回信", "日期的正则表达式", "面包店的名字", "青岛之行"],
  question: "灯塔在多远的地方能看见？",
  answer: `晴朗的夜里，只有**地球的曲率**限制它。灯高 $h$ 米、眼高 $e$ 米时：

$$d = 2.08\\,\\bigl(\\sqrt{h} + \\sqrt{e}\\bigr)\\ \\text{海里}$$

1. 灯高 20 米：约 13 海里
2. 灯高 60 米：约 20 海里

雾和雨会让它变近。`,
};

let browser: Browser;
let upstream: Upstream;
let gateway: Gateway;

beforeAll(async () => {
  browser = await launch();
  upstream = await Upstream.start({ name: "gemma-3-4b-it" });
  gateway = await Gateway.start({ upstream: upstream.address });
});
afterAll(async () => {
  await gateway?.close();
  upstream?.close();
  await browser?.close();
});

const DESKTOP = { width: 1280, height: 840 };
const PHONE: VisitOptions = {
  language: "zh-CN",
  viewport: { width: 390, height: 780 },
  isMobile: true,
  hasTouch: true,
  deviceScaleFactor: 2,
};

test.each<[string, VisitOptions, typeof ENGLISH]>([
  ["light", { viewport: DESKTOP, colorScheme: "light" }, ENGLISH],
  ["dark", { viewport: DESKTOP, colorScheme: "dark" }, ENGLISH],
  ["phone", PHONE, CHINESE],
])("the page as it is, for README (%s)", async (name, options, { titles, question, answer }) => {
  const pieces = answer.match(/[\s\S]{1,6}/g) ?? [];
  upstream.says(...pieces.flatMap((text) => [{ text }, { pause: 5 }]));
  const visit = await Visit.start(browser, { ...options, url: gateway.url });
  await visit.connected();
  for (const title of titles) {
    await visit.api("conversations/import", "POST", documentOf(title, [[title, answer]]));
  }
  await visit.page.reload();
  await visit.input.fill(question);
  await visit.send();
  await visit.answered(0);
  const shown = visit.answers.first();
  await expect.poll(() => shown.locator(".katex").count()).toBeGreaterThan(1);
  await visit.page.getByRole("main").evaluate((it) => it.scrollTo(0, 0));
  await visit.screenshot(`picture-${name}`);
  await visit.end();
});
