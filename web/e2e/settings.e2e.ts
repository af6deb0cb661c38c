/** What a person sets, and that it counts. */
import { describe, expect, test } from "vitest";
import { words as appWords } from "../src/app/appWords";
import type { Conversation } from "../src/client";
import { words as settingsWords } from "../src/settings/words";
import { words as threadWords } from "../src/thread/words";
import { ENGLISH, SPEAKERS } from "./languages";
import { scripted, visits } from "./stories";
import type { Visit, VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

async function start(options: VisitOptions = {}): Promise<void> {
  visit = await visitPage(options);
  await visit.connected();
}

/** The element that holds the whole chat. */
const chat = () => visit.page.locator(".corral");

describe.each(SPEAKERS)("in $language", ({ language }) => {
  test("language, theme and text size change at once and are kept", async () => {
    await start({ language, colorScheme: "light" });
    const text = visit.say(settingsWords);
    const dialog = await visit.openSettings(text.sectionNames.general);
    const ground = () => chat().evaluate((it) => getComputedStyle(it).backgroundColor);
    const light = await ground();
    await dialog.getByRole("radio", { name: text.themes.dark, exact: true }).check({ force: true });
    await expect.poll(ground).not.toBe(light);
    await dialog.getByRole("radio", { name: text.textSizes.large, exact: true }).check({ force: true });
    const other = language === "en" ? "zh-CN" : "en";
    await dialog.getByRole("combobox", { name: text.language }).selectOption(other);
    await visit.page.getByRole("dialog", { name: appWords[other].settings }).waitFor();
    await visit.screenshot(`settings-${language}`);
    const dark = await ground();
    await visit.page.reload();
    await expect.poll(ground).toBe(dark);
    expect(await chat().getAttribute("lang")).toBe(other);
    expect(await visit.page.locator("html").getAttribute("lang")).toBe(other);
    expect(await chat().getAttribute("data-text-size")).toBe("large");
  });

  test("a number that the server would not take is named and never sent", async () => {
    await start({ language, preferences: { options: {} } });
    const text = visit.say(settingsWords);
    const dialog = await visit.openSettings(text.sectionNames.answers);
    const field = dialog.getByLabel(text.options.temperature.label, { exact: true });
    await field.fill("9");
    await field.blur();
    await dialog.getByRole("alert").filter({ hasText: text.options.temperature.label }).waitFor();
    await visit.screenshot(`settings-answers-${language}`);
    await visit.page.keyboard.press("Escape");
    await visit.ask("Hello");
    await expect.poll(() => visit.sent.some(({ type }) => type === "send")).toBe(true);
    const [sent] = visit.sent.filter((frame) => frame.type === "send");
    expect(sent?.options?.temperature).toBeUndefined();
    await visit.stopIfRunning();
  });
});

test("system prompt, sampling and thinking reach the model as they were set", async () => {
  const { upstream, url } = await scripted();
  await start({ url: url, preferences: { options: {} } });
  const text = visit.say(settingsWords);
  const dialog = await visit.openSettings(text.sectionNames.answers);
  await dialog.getByLabel(text.system, { exact: true }).fill("Answer like a pirate.");
  await dialog.getByLabel(text.options.temperature.label, { exact: true }).fill("0.7");
  await dialog.getByLabel(text.options.max_tokens.label, { exact: true }).fill("77");
  await visit.page.keyboard.press("Escape");
  await visit.ask("Hello");
  await visit.answered(0);
  const [asked] = upstream.asked;
  expect(asked).toMatchObject({ temperature: 0.7, max_tokens: 77 });
  expect(asked?.messages[0]).toEqual({ role: "system", content: "Answer like a pirate." });
  const { id } = await visit.api<Conversation>(`conversations/${visit.conversation}`);
  const again = await visit.openSettings(text.sectionNames.conversation);
  await again.getByLabel(text.ownSystem, { exact: true }).fill("Answer in one word.");
  await again.getByRole("button", { name: text.save }).click();
  await again.getByText(text.saved).waitFor();
  expect(await visit.api<Conversation>(`conversations/${id}`)).toMatchObject({
    system: "Answer in one word.",
  });
  await visit.page.keyboard.press("Escape");
  await visit.ask("Again");
  await visit.answered(1);
  expect(upstream.asked.at(-1)?.messages[0]).toEqual({ role: "system", content: "Answer in one word." });
});

test("all conversations are deleted only after the word is typed", async () => {
  await start();
  const text = visit.say(settingsWords);
  await visit.askAndWait(ENGLISH.short);
  const dialog = await visit.openSettings(text.sectionNames.data);
  const button = dialog.getByRole("button", { name: text.deleteButton });
  expect(await button.isDisabled()).toBe(true);
  await dialog.getByRole("textbox").fill(text.deleteWord);
  await button.click();
  await expect.poll(() => visit.titles()).toEqual([]);
  expect(await visit.api("conversations")).toMatchObject({ conversations: [] });
});

test("the page says which model answers, and that the development model is tiny", async () => {
  await start();
  const text = visit.say(settingsWords);
  const { model } = visit.frames("welcome")[0] as { model: { name: string } };
  await visit.page.getByText(visit.say(threadWords).tiny).waitFor();
  await visit.screenshot("welcome");
  const dialog = await visit.openSettings(text.sectionNames.about);
  await dialog.getByText(model.name).waitFor();
});

test("a temporary chat says so, is not listed, and is gone from search", async () => {
  await start();
  const text = visit.say(appWords);
  await visit.page.getByRole("button", { name: text.beginTemporary }).click();
  await visit.page.getByRole("heading", { name: text.temporaryChat }).waitFor();
  await visit.screenshot("temporary");
  await visit.askAndWait("Say hello to the xylophone.");
  await expect.poll(() => visit.titles()).toEqual([]);
  expect(await visit.api("search?q=xylophone")).toMatchObject({ found: [] });
  expect(await visit.api(`conversations/${visit.conversation}`)).toMatchObject({ temporary: true });
});
