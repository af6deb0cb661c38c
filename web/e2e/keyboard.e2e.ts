/** What the keyboard does, on desks and on phones, and what it never does while somebody composes. */
import type { CDPSession } from "playwright-core";
import { expect, test } from "vitest";
import { words as appWords } from "../src/app/appWords";
import { words as sidebarWords } from "../src/sidebar/words";
import { words as threadWords } from "../src/thread/words";
import { ENGLISH, LONG_ANSWER } from "./languages";
import { visits } from "./stories";
import type { Visit, VisitOptions } from "./visit";

const ENTER = { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13 };

const visitPage = visits();
let visit: Visit;

async function start(options: VisitOptions = {}): Promise<void> {
  visit = await visitPage(options);
  await visit.connected();
}

const isFocused = () => visit.input.evaluate((input) => input === document.activeElement);

test("the field has the focus at the start, and keys that are pressed anywhere go to it", async () => {
  await start();
  await expect.poll(isFocused).toBe(true);
  await visit.input.evaluate((input) => (input as HTMLElement).blur());
  await visit.page.keyboard.type("hello");
  expect(await visit.input.inputValue()).toBe("hello");
});

test("Enter sends, Shift+Enter does not, and neither does an Enter that composes", async () => {
  await start();
  const keyboard: CDPSession = await visit.context.newCDPSession(visit.page);
  await visit.input.fill("Say");
  await visit.input.press("Shift+Enter");
  await keyboard.send("Input.imeSetComposition", { text: "你好", selectionStart: 2, selectionEnd: 2 });
  await keyboard.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...ENTER, windowsVirtualKeyCode: 229 });
  await keyboard.send("Input.dispatchKeyEvent", { type: "rawKeyDown", ...ENTER });
  await keyboard.send("Input.dispatchKeyEvent", { type: "keyUp", ...ENTER });
  expect(await visit.questions.count()).toBe(0);
  expect(await visit.input.inputValue()).toBe("Say\n你好");
  await keyboard.send("Input.insertText", { text: "你好" });
  // Safari reports the Enter that ends a composition after its end: the page lets a moment pass.
  await visit.page.waitForTimeout(100);
  await visit.input.press("Enter");
  await visit.answered(0);
  const asked = visit.sent.filter((frame) => frame.type === "send");
  expect(asked.map(({ content }) => content)).toEqual([[{ type: "text", text: "Say\n你好" }]]);
});

test("Escape stops the answer from anywhere, and the focus is in the field again", async () => {
  await start({ preferences: { options: LONG_ANSWER } });
  await visit.ask(ENGLISH.long);
  await visit.growing(0);
  await visit.input.evaluate((input) => (input as HTMLElement).blur());
  await visit.page.keyboard.press("Escape");
  await visit.answered(0, "stopped");
  await expect.poll(isFocused).toBe(true);
});

test("the list of a narrow chat takes the focus, and Escape closes it from anywhere in the chat", async () => {
  await start({ viewport: { width: 360, height: 740 } });
  const { openSidebar } = visit.say(appWords);
  const isOpen = () => visit.page.locator('.corral[data-sidebar="open"]').count();
  const inList = () => visit.sidebar.evaluate((list) => list.contains(document.activeElement));
  for (const press of [false, true]) {
    await visit.button(openSidebar).click();
    await expect.poll(inList).toBe(true);
    if (press) await visit.sidebar.getByText(visit.say(sidebarWords).nothing).click();
    await visit.page.keyboard.press("Escape");
    await expect.poll(isOpen).toBe(0);
  }
});

test("Escape in a dialog closes the dialog and stops nothing", async () => {
  await start();
  await visit.ask(ENGLISH.long);
  await visit.growing(0);
  await visit.page.keyboard.press("Control+k");
  await visit.page.getByRole("dialog").waitFor();
  await visit.page.keyboard.press("Escape");
  await expect.poll(() => visit.page.getByRole("dialog").count()).toBe(0);
  await visit.answered(0);
});

test("arrow up in an empty field edits the last question, and Escape leaves it as it was", async () => {
  await start();
  const text = visit.say(threadWords);
  await visit.askAndWait(ENGLISH.short);
  await visit.input.press("ArrowUp");
  const field = visit.page.getByRole("textbox", { name: text.editMessage });
  await field.waitFor();
  expect(await field.inputValue()).toBe(ENGLISH.short);
  await field.fill("something else");
  await field.press("Escape");
  await expect.poll(() => field.count()).toBe(0);
  await visit.questions.first().getByText(ENGLISH.short).waitFor();
  await visit.input.fill("two\nlines");
  await visit.input.press("ArrowUp");
  expect(await field.count()).toBe(0);
});

test("Ctrl+K searches, Ctrl+Shift+O begins a new chat, and a sheet lists the keys", async () => {
  await start();
  const text = visit.say(sidebarWords);
  await visit.askAndWait(ENGLISH.short);
  await visit.page.keyboard.press("Control+Shift+O");
  await expect.poll(() => visit.questions.count()).toBe(0);
  await expect.poll(isFocused).toBe(true);
  await visit.page.keyboard.press("Control+k");
  await visit.page.getByRole("dialog", { name: text.search }).waitFor();
  await visit.page.keyboard.press("Escape");
  await visit.page.keyboard.press("Control+/");
  const sheet = visit.page.getByRole("dialog", { name: text.shortcuts });
  await sheet.getByText(text.shortcutNames.stop).waitFor();
  await visit.screenshot("shortcuts");
  await visit.page.keyboard.press("Escape");
  await expect.poll(isFocused).toBe(true);
});

test("on a phone Enter makes a new line and the button sends", async () => {
  await start({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await visit.input.fill("one");
  await visit.input.press("End");
  await visit.input.press("Enter");
  await visit.page.keyboard.type("two");
  expect(await visit.input.inputValue()).toBe("one\ntwo");
  expect(visit.sent.filter(({ type }) => type === "send")).toEqual([]);
  await visit.send();
  await visit.answered(0);
  await visit.screenshot("phone");
});
