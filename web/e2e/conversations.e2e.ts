/** What a person can do with whole conversations, in the side bar and beyond a reload. */
import { readFile } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import type { Conversation, Exported } from "../src/client";
import { words as sidebarWords } from "../src/sidebar/words";
import { documentOf } from "./documents";
import { ENGLISH, LONG_ANSWER, SPEAKERS } from "./languages";
import { visits } from "./stories";
import type { Visit, VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

/** A visit of somebody who already has these conversations, the first one last changed. */
async function startWith(titles: readonly string[], options: VisitOptions = {}): Promise<void> {
  visit = await visitPage(options);
  await visit.connected();
  for (const title of titles.toReversed()) await bring(title);
  await visit.page.reload();
  await visit.row(titles[0] as string).waitFor();
}

async function bring(title: string, question = `About ${title}`, answer = "I see."): Promise<Conversation> {
  const document = documentOf(title, [[question, answer]]);
  return visit.api("conversations/import", "POST", document);
}

describe.each(SPEAKERS)("in $language", ({ language, short }) => {
  test("a conversation is there after a reload, with its title, question and answer", async () => {
    visit = await visitPage({ language });
    await visit.connected();
    const text = await visit.askAndWait(short);
    await visit.page.reload();
    await visit.answered(0);
    expect(await visit.questions.first().innerText()).toContain(short);
    const { title } = await visit.api<Conversation>(`conversations/${visit.conversation}`);
    await visit.row(title).waitFor();
    expect(await visit.keptText()).toBe(text);
    await visit.screenshot(`conversation-${language}`);
  });

  test("a conversation is renamed, pinned, and keeps both over a reload", async () => {
    await startWith(["Harbour", "Lamp", "Fog"], { language });
    const text = visit.say(sidebarWords);
    await visit.choose("Fog", text.rename);
    const field = visit.sidebar.getByRole("textbox", { name: text.title });
    await field.fill("雾 and mist");
    await field.press("Enter");
    await visit.row("雾 and mist").waitFor();
    await visit.choose("Lamp", text.pin);
    // A new name is no news: the conversation stays where it is.
    const wanted = ["Lamp", "Harbour", "雾 and mist"];
    await expect.poll(() => visit.titles()).toEqual(wanted);
    await visit.sidebar.getByRole("heading", { name: text.pinned }).waitFor();
    await visit.page.reload();
    await expect.poll(() => visit.titles()).toEqual(wanted);
    await visit.choose("Lamp", text.unpin);
    await expect.poll(async () => (await visit.titles()).toSorted()).toEqual(wanted.toSorted());
    await expect.poll(() => visit.sidebar.getByRole("heading", { name: text.pinned }).count()).toBe(0);
  });

  test("a deleted conversation is gone at once and comes back with undo", async () => {
    await startWith(["Harbour", "Lamp"], { language });
    const text = visit.say(sidebarWords);
    await visit.row("Lamp").click();
    await visit.answered(0);
    await visit.choose("Lamp", text.delete);
    await expect.poll(() => visit.titles()).toEqual(["Harbour"]);
    await visit.notice(text.deleted("Lamp")).waitFor();
    await expect.poll(() => visit.answers.count()).toBe(0);
    await visit.screenshot(`deleted-${language}`);
    await visit.button(text.undo).click();
    await visit.row("Lamp").waitFor();
    await visit.answered(0);
    await visit.page.reload();
    await visit.row("Lamp").waitFor();
  });

  test("search finds titles and messages, also by two Chinese characters, and opens what is chosen", async () => {
    visit = await visitPage({ language });
    await visit.connected();
    await bring("Harbour", "Which ships came?", "Three ships: the *Alma*, the Fog and the Dawn.");
    await bring("灯塔守护人", "他叫什么名字？", "他的名字叫守望者，住在海边。");
    const text = visit.say(sidebarWords);
    await visit.page.keyboard.press("Control+k");
    const dialog = visit.page.getByRole("dialog");
    const field = dialog
      .getByRole("combobox")
      .or(dialog.getByRole("searchbox"))
      .or(dialog.getByRole("textbox"));
    for (const [query, title] of [
      ["Alma", "Harbour"],
      ["灯塔", "灯塔守护人"],
      ["海边", "灯塔守护人"],
    ] as const) {
      await field.fill(query);
      await dialog.getByRole("option", { name: title }).first().waitFor();
    }
    await visit.screenshot(`search-${language}`);
    await field.fill("nowhere at all");
    await dialog.getByText(text.nothingFound("nowhere at all")).waitFor();
    await field.fill("海边");
    await dialog.getByRole("option", { name: "灯塔守护人" }).first().waitFor();
    await field.press("Enter");
    await expect.poll(() => visit.page.getByRole("dialog").count()).toBe(0);
    await visit.answered(0);
    expect(await visit.answers.first().innerText()).toContain("守望者");
  });
});

test("conversations are put into folders, which can be closed, and taken out again", async () => {
  await startWith(["Harbour", "Lamp", "Fog"]);
  const text = visit.say(sidebarWords);
  const dialog = visit.page.getByRole("dialog");
  await visit.choose("Fog", text.move);
  await dialog.getByRole("textbox", { name: text.folderName }).fill("Weather");
  await dialog.getByRole("button", { name: text.moveHere }).click();
  await visit.choose("Lamp", text.move);
  await dialog.getByRole("radio", { name: "Weather" }).check();
  await dialog.getByRole("button", { name: text.moveHere }).click();
  const folder = visit.sidebar.getByRole("button", { name: /^Weather/ });
  await expect.poll(() => folder.innerText()).toContain("2");
  await visit.screenshot("folders");
  await folder.click();
  await expect.poll(() => visit.titles()).toEqual(["Harbour"]);
  await visit.page.reload();
  await expect.poll(() => visit.titles()).toEqual(["Harbour"]);
  await folder.click();
  await visit.choose("Lamp", text.move);
  await dialog.getByRole("radio", { name: text.noFolder }).check();
  await dialog.getByRole("button", { name: text.moveHere }).click();
  await expect.poll(() => folder.innerText()).toContain("1");
});

test("a conversation is exported as Markdown and JSON, and the JSON is brought back whole", async () => {
  await startWith(["Harbour: ships/boats"]);
  const text = visit.say(sidebarWords);
  const download = async (item: string) => {
    const [file] = await Promise.all([
      visit.page.waitForEvent("download"),
      visit.choose("Harbour: ships/boats", item),
    ]);
    return { name: file.suggestedFilename(), text: await readFile(await file.path(), "utf8") };
  };
  const markdown = await download(text.exportMarkdown);
  expect(markdown.name).toMatch(/^Harbour.*\.md$/);
  expect(markdown.text).toContain("I see.");
  const json = await download(text.exportJson);
  expect(json.name).toMatch(/^Harbour.*\.json$/);
  const document = JSON.parse(json.text) as Exported;
  expect(document.messages.map(({ answer }) => answer?.text)).toEqual([undefined, "I see."]);
  await visit.sidebar.getByRole("button", { name: text.listMenu }).click();
  const [chooser] = await Promise.all([
    visit.page.waitForEvent("filechooser"),
    visit.page.getByRole("menuitem", { name: text.import }).click(),
  ]);
  await chooser.setFiles({ name: json.name, mimeType: "application/json", buffer: Buffer.from(json.text) });
  await visit.notice(text.imported(1)).waitFor();
  await expect.poll(() => visit.titles()).toEqual(["Harbour: ships/boats", "Harbour: ships/boats"]);
});

test("what one tab does to a conversation shows in the others at once", async () => {
  await startWith(["Harbour", "Lamp"]);
  const text = visit.say(sidebarWords);
  const other = await visit.tab("");
  await other.row("Lamp").waitFor();
  const soon = { timeout: 3000 };
  await visit.choose("Lamp", text.pin);
  await expect.poll(() => other.titles(), soon).toEqual(["Lamp", "Harbour"]);
  await visit.api(`conversations/${await idOf("Harbour")}`, "PATCH", { title: "Port" });
  await expect.poll(() => other.titles(), soon).toEqual(["Lamp", "Port"]);
  await visit.choose("Port", text.delete);
  await expect.poll(() => other.titles(), soon).toEqual(["Lamp"]);
  expect(other.problems).toEqual([]);
});

test("a long list comes page by page as it is scrolled", async () => {
  const titles = Array.from({ length: 120 }, (_, n) => `Day ${n}`);
  visit = await visitPage();
  await visit.connected();
  for (const title of titles.toReversed()) await visit.api("conversations", "POST", { title });
  await visit.page.reload();
  await visit.row("Day 0").first().waitFor();
  expect((await visit.titles()).length).toBeLessThan(120);
  await visit.sidebar.hover();
  await expect
    .poll(
      async () => {
        await visit.page.mouse.wheel(0, 5000);
        return (await visit.titles()).length;
      },
      { timeout: 10_000 },
    )
    .toBe(120);
  expect(await visit.titles()).toEqual(titles);
});

test("the side bar shows which conversations are being answered and where a new answer is", async () => {
  visit = await visitPage({ preferences: { options: LONG_ANSWER } });
  await visit.connected();
  const text = visit.say(sidebarWords);
  await visit.ask(ENGLISH.long);
  await visit.growing(0);
  await visit.newChat();
  await visit.sidebar.getByRole("img", { name: text.answering }).waitFor();
  await visit.sidebar.getByRole("img", { name: text.unread }).waitFor({ timeout: 60_000 });
  await visit.row(/./).first().click();
  await expect.poll(() => visit.sidebar.getByRole("img", { name: text.unread }).count()).toBe(0);
});

async function idOf(title: string): Promise<string> {
  const { conversations } = await visit.api<{ conversations: Conversation[] }>("conversations");
  const found = conversations.find((conversation) => conversation.title === title);
  if (!found) throw new Error(`no conversation is called ${title}`);
  return found.id;
}
