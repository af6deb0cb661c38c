/**
 * The truth about waiting: each state of an answer in words, with a scripted model behind a real gateway. The last story
 * has the real model, with more to do than it has slots.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { describeError, duration } from "../src/app/errorWords";
import type { Language } from "../src/app/words";
import { words as threadWords } from "../src/thread/words";
import { Gateway } from "./gateway";
import { ENGLISH, SPEAKERS } from "./languages";
import { visits } from "./stories";
import { type Step, Upstream } from "./upstream";
import type { Visit } from "./visit";

const visitPage = visits();
let upstream: Upstream;
let gateway: Gateway;
let visit: Visit;

beforeAll(async () => {
  upstream = await Upstream.start();
  gateway = await Gateway.start({ upstream: upstream.address });
});
afterAll(async () => {
  await gateway?.close();
  upstream?.close();
});

async function start(language: Language): Promise<void> {
  visit = await visitPage({ language, url: gateway.url });
  await visit.connected();
}

/** A gate that the test opens. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = () => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

describe.each(SPEAKERS)("in $language", ({ language, short }) => {
  test("an answer tells its place in the queue, its prompt, its thoughts, its writing and its speed", async () => {
    await start(language);
    const text = visit.say(threadWords);
    const [queue, prompt, thoughts, writing] = [gate(), gate(), gate(), gate()];
    upstream.says(
      { queue: 3, wait: 12 },
      { until: queue.opened },
      { prefill: 0, of: 4096 },
      { prefill: 1024, of: 4096 },
      { until: prompt.opened },
      { thought: "The person wants a greeting." },
      { until: thoughts.opened },
      { text: "Hello, " },
      { until: writing.opened },
      { text: "world." },
    );
    await visit.ask(short);
    const answer = visit.answers.first();
    await answer.getByText(text.queued(3)).waitFor();
    await answer.getByText(text.about(duration(12, language))).waitFor();
    await visit.screenshot(`queue-place-${language}`);
    queue.open();
    await answer.getByText(text.readTokens("1,024", "4,096")).waitFor();
    await answer.getByRole("progressbar").waitFor();
    prompt.open();
    const thinking = answer.getByRole("group", { name: text.thoughts });
    await thinking.getByText("The person wants a greeting.").waitFor();
    await visit.screenshot(`thinking-${language}`);
    thoughts.open();
    await visit.growing(0);
    await expect.poll(() => thinking.getByText("The person wants a greeting.").count()).toBe(0);
    writing.open();
    await visit.answered(0);
    await answer.getByText("Hello, world.").waitFor();
    await thinking.getByRole("button").click();
    await thinking.getByText("The person wants a greeting.").waitFor();
    expect(await visit.keptText()).toBe("Hello, world.");
  });

  test("an error never replaces text, says what to do in the person's language, and can be tried again", async () => {
    await start(language);
    const text = visit.say(threadWords);
    upstream.says({ text: "Half of an ans" }, { cut: true });
    await visit.ask(short);
    const answer = await visit.answered(0, "interrupted");
    await answer.getByText("Half of an ans").waitFor();
    const [{ error } = {}] = visit.frames("done");
    const said = describeError({ code: error?.code ?? "" }, language);
    expect((await answer.innerText()).replaceAll(/\s+/g, "")).toContain(said.replaceAll(/\s+/g, ""));
    await visit.screenshot(`failed-${language}`);
    upstream.says({ text: "A whole answer." });
    await answer.getByRole("button", { name: text.tryAgain }).click();
    await visit.answers.first().getByText("A whole answer.").waitFor();
    await visit.answered(0);
    await visit.answers.first().getByText(text.place(2, 2)).waitFor();
  });
});

const REFUSALS: [string, Step, string][] = [
  ["too long for the model", refusal(400, "context_length_exceeded", "too long"), "context_too_long"],
  ["refused by the model", refusal(500, "server_error", "broken"), "upstream_error"],
];

test.each(REFUSALS)("an answer that is %s says so in Chinese", async (_name, step, code) => {
  await start("zh-CN");
  upstream.says(step);
  await visit.ask("你好");
  const answer = await visit.answered(0, "failed");
  expect(visit.frames("done").map(({ error }) => error?.code)).toEqual([code]);
  const said = describeError({ code }, "zh-CN");
  expect((await answer.innerText()).replaceAll(/\s+/g, "")).toContain(said.replaceAll(/\s+/g, ""));
});

test("a model that loads is waited for, in words", async () => {
  await start("en");
  let asks = 0;
  upstream.script = () => {
    asks += 1;
    return asks === 1 ? [refusal(503, "model_loading", "Loading model")] : [{ text: "Ready." }];
  };
  await visit.ask("Hello");
  await visit.answers.first().getByText(visit.say(threadWords).modelLoading).waitFor();
  await visit.answered(0);
  await visit.answers.first().getByText("Ready.").waitFor();
});

test("an answer without a word says so", async () => {
  await start("en");
  upstream.says({ finish: "stop" });
  await visit.ask("Hello");
  await visit.answered(0);
  await visit.answers.first().getByText(visit.say(threadWords).ends.nothing).waitFor();
});

test("thoughts that used all the length say what to change", async () => {
  await start("en");
  upstream.says({ thought: "Hm." }, { finish: "length" });
  await visit.ask("Hello");
  await visit.answered(0);
  await visit.answers.first().getByText(visit.say(threadWords).ends.lengthOfThoughts).waitFor();
});

test("with the real model, more chats than slots wait and are all answered", async () => {
  visit = await visitPage({ preferences: { options: { max_tokens: 120, temperature: 0 } } });
  await visit.connected();
  const text = visit.say(threadWords);
  const tabs = [visit];
  for (let n = 0; n < 3; n += 1) tabs.push(await visit.tab(""));
  await Promise.all(tabs.map((tab) => tab.connected()));
  const places = new RegExp([1, 2].map((place) => text.queued(place)).join("|"));
  const seen = Promise.any(tabs.map((tab) => tab.page.getByText(places).first().waitFor()));
  for (const tab of tabs) await tab.ask(ENGLISH.long);
  await seen;
  await Promise.all(tabs.map((tab) => tab.answered(0)));
  expect(tabs.flatMap(({ problems }) => problems)).toEqual([]);
}, 240_000);

function refusal(refuse: number, code: string, message: string): Step {
  return { refuse, code, message };
}
