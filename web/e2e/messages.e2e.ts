/** What a person can do with single messages, on the real model. */
import { describe, expect, test } from "vitest";
import { words as composerWords } from "../src/composer/words";
import { words as threadWords } from "../src/thread/words";
import { ENGLISH, LONG_ANSWER, SPEAKERS } from "./languages";
import { scripted, visits } from "./stories";
import { letters, type Visit, type VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

async function start(options: VisitOptions = {}): Promise<void> {
  visit = await visitPage(options);
  await visit.connected();
}

const preferences = { options: LONG_ANSWER };

describe.each(SPEAKERS)("in $language", ({ language, short, long }) => {
  test("an answer grows before the reader's eyes, and copies to the byte as the server keeps it", async () => {
    await start({ language, preferences });
    await visit.ask(long);
    const answer = await visit.growing(0);
    const first = letters(await answer.locator(".markdown").innerText());
    await visit.answered(0);
    const kept = await visit.keptText();
    expect(letters(kept).length).toBeGreaterThan(first.length);
    expect(letters(kept).startsWith(first)).toBe(true);
    expect(letters(await answer.locator(".markdown").innerText())).toBe(letters(kept));
    expect(await visit.copied(await visit.buttonOf(answer, visit.say(threadWords).copy))).toBe(kept);
    await visit.screenshot(`answer-${language}`);
  });

  test("a stopped answer keeps its text, says so, and goes on where it was cut", async () => {
    await start({ language, preferences });
    const text = visit.say(threadWords);
    await visit.ask(long);
    await visit.growing(0);
    await visit.stop();
    const answer = await visit.answered(0, "stopped");
    await answer.getByText(text.ends.stopped).waitFor();
    const before = await visit.keptText();
    await visit.screenshot(`stopped-${language}`);
    await answer.getByRole("button", { name: text.continue }).click();
    await expect.poll(() => answer.locator("[data-stage]").count()).toBe(1);
    await visit.page.keyboard.press("Escape");
    await visit.answered(0, "stopped");
    const after = await visit.keptText();
    expect(after.startsWith(before)).toBe(true);
    expect(await visit.copied(await visit.buttonOf(answer, text.copy))).toBe(after);
  });

  test("a question is edited and asked again, and the arrows lead back to the first version", async () => {
    await start({ language });
    const text = visit.say(threadWords);
    await visit.askAndWait(short);
    const question = visit.questions.first();
    await (await visit.buttonOf(question, text.edit)).click();
    const field = visit.page.getByRole("textbox", { name: text.editMessage });
    expect(await field.inputValue()).toBe(short);
    await field.fill("Say goodbye. 再见。");
    await field.press("Enter");
    await question.getByText("Say goodbye. 再见。").waitFor();
    await visit.answered(0);
    await question.getByText(text.place(2, 2)).waitFor();
    await (await visit.buttonOf(question, text.previous)).click();
    await question.getByText(short).waitFor();
    await question.getByText(text.place(1, 2)).waitFor();
    await visit.screenshot(`versions-${language}`);
    const roots = (await visit.kept()).filter(({ parent }) => parent === null);
    expect(roots.length).toBe(2);
  });

  test("messages that wait are edited, taken back and sent now", async () => {
    await start({ language, preferences });
    const text = visit.say(threadWords);
    await visit.ask(long);
    await visit.growing(0);
    await visit.ask("first waiting");
    await visit.ask("second waiting");
    const first = visit.questions.nth(1);
    const second = visit.questions.nth(2);
    await second.getByText(text.waits).waitFor();
    await visit.screenshot(`queue-${language}`);
    await second.getByRole("button", { name: text.remove }).click();
    await expect.poll(() => visit.questions.count()).toBe(2);
    await first.getByRole("button", { name: text.edit }).click();
    const field = visit.page.getByRole("textbox", { name: text.editMessage });
    await field.fill(short);
    await field.press("Enter");
    await first.getByText(short).waitFor();
    await first.getByRole("button", { name: text.sendNow }).click();
    await visit.answered(0, "stopped");
    await visit.growing(1);
    const questions = (await visit.kept()).filter(({ role }) => role === "user");
    expect(questions.map(({ content }) => content)).toEqual([
      [{ type: "text", text: long }],
      [{ type: "text", text: short }],
    ]);
  });
});

test("another answer is a version beside the first, and both stay", async () => {
  await start();
  const text = visit.say(threadWords);
  const first = await visit.askAndWait(ENGLISH.short);
  const answer = visit.answers.first();
  await (await visit.buttonOf(answer, text.regenerate)).click();
  await answer.getByText(text.place(2, 2)).waitFor();
  await visit.answered(0);
  await (await visit.buttonOf(answer, text.previous)).click();
  expect(await visit.copied(await visit.buttonOf(answer, text.copy))).toBe(first);
  await visit.page.reload();
  await visit.answers.first().getByText(text.place(2, 2)).waitFor();
});

test("an answer that reached its limit says so and goes on", async () => {
  await start({ preferences: { options: { max_tokens: 8, temperature: 0 } } });
  const text = visit.say(threadWords);
  const before = await visit.askAndWait(ENGLISH.long);
  const answer = visit.answers.first();
  await answer.getByText(text.ends.length).waitFor();
  await answer.getByRole("button", { name: text.continue }).click();
  await expect.poll(() => visit.keptText(), { timeout: 30_000 }).not.toBe(before);
  await visit.answered(0);
  expect((await visit.keptText()).startsWith(before)).toBe(true);
});

test("a reader who has scrolled up is left alone, and one press leads back to the end", async () => {
  await start({ preferences, viewport: { width: 800, height: 400 } });
  const scroller = visit.page.getByRole("main");
  const place = () => scroller.evaluate((it) => [it.scrollTop, it.scrollHeight - it.clientHeight] as const);
  await visit.ask(ENGLISH.long);
  await visit.growing(0);
  await expect.poll(async () => (await place())[1], { timeout: 60_000 }).toBeGreaterThan(250);
  await scroller.hover();
  await visit.page.mouse.wheel(0, -200);
  const latest = visit.button(/latest/);
  await latest.waitFor();
  const [top] = await place();
  const [, height] = await place();
  await expect.poll(async () => (await place())[1], { timeout: 60_000 }).toBeGreaterThan(height + 40);
  expect((await place())[0]).toBe(top);
  await latest.click();
  await expect
    .poll(async () => {
      const [now, end] = await place();
      return end - now;
    })
    .toBeLessThanOrEqual(1);
});

test("a message that is longer than the server takes is not sent and stays where it is", async () => {
  await start();
  const words = visit.say(composerWords);
  const long = "many words ".repeat(13_000);
  await visit.input.fill(long);
  await visit.page
    .getByText(/KB|kB|KiB/)
    .first()
    .waitFor();
  expect(await visit.button(words.send).isDisabled()).toBe(true);
  await visit.input.press("Enter");
  expect(await visit.input.inputValue()).toBe(long);
  expect(visit.sent.filter(({ type }) => type === "send")).toEqual([]);
  await visit.screenshot("too-long");
});

test("a conversation longer than the model's context says which messages it is not shown", async () => {
  const { url } = await scripted({ context: 1024 });
  await start({ url: url });
  const text = visit.say(threadWords);
  for (let n = 0; n < 4; n += 1)
    await visit.askAndWait(`Round ${n}: ${"the keeper lights the lamp ".repeat(50)}`);
  expect(visit.frames("context").at(-1)?.left_out).toBeGreaterThan(0);
  await visit.page.getByText(text.leftOut).waitFor();
  await visit.screenshot("left-out");
});
