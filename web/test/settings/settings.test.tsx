/** The settings as a person uses them. */
import { act, cleanup, fireEvent, render, screen, within } from "@testing-library/react";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { PageContext } from "../../src/app/context";
import { ChatPage } from "../../src/app/page";
import { LanguageContext } from "../../src/app/words";
import { ChatError, type Conversation } from "../../src/client";
import { Settings } from "../../src/settings/Settings";
import { words } from "../../src/settings/words";
import { welcome } from "../client/fakeServer";

const text = words.en;
const api = new URL("http://localhost/api/v1/");
const record: Conversation = {
  id: "c",
  title: "Hello",
  created_ms: 1,
  updated_ms: 2,
  revision: 1,
  temporary: false,
  pinned: false,
};
let page: ChatPage;

// The sections are loaded when the dialog opens, which takes long on a busy machine.
beforeAll(() => import("../../src/settings/Sections"));
beforeEach(() => {
  localStorage.clear();
  page = new ChatPage({ api });
  page.store.setState(({ chat }) => ({ chat: { ...chat, welcome } }));
  vi.spyOn(page.rest, "list").mockResolvedValue({ conversations: [] });
});
afterEach(cleanup);

async function open(section: keyof typeof text.sectionNames) {
  render(
    <PageContext value={page}>
      <LanguageContext value="en">
        <Settings onClose={() => {}} />
      </LanguageContext>
    </PageContext>,
  );
  fireEvent.click(await screen.findByRole("tab", { name: text.sectionNames[section], hidden: true }));
}

/** What the next page in this browser begins with. */
const kept = () => new ChatPage({ api }).store.getState().preferences;
const type = (field: Element, value: string) => fireEvent.change(field, { target: { value } });
const field = (label: string) => screen.getByLabelText<HTMLInputElement>(label);
const button = (name: string) => screen.getByRole<HTMLButtonElement>("button", { name, hidden: true });

function openConversation(more: Partial<Conversation> = {}) {
  const chat = {
    id: "c",
    record: { ...record, ...more },
    revision: 1,
    latest: 1,
    messages: new Map(),
    deleted: false,
  };
  page.store.setState((state) => ({ open: "c", chat: { ...state.chat, chats: new Map([["c", chat]]) } }));
}

test("language, theme and text size apply at once and are kept", async () => {
  await open("general");
  type(field(text.language), "zh-CN");
  fireEvent.click(field(text.themes.dark));
  fireEvent.click(field(text.textSizes.large));
  expect(kept()).toMatchObject({ language: "zh-CN", theme: "dark", textSize: "large" });
  expect(page.store.getState().preferences).toEqual(kept());
});

test("the language can be left to the browser again", async () => {
  page.setPreferences({ language: "en" });
  await open("general");
  type(field(text.language), "");
  expect("language" in kept()).toBe(false);
});

test("the browser is asked for notifications only when they are wanted", async () => {
  const requestPermission = vi.fn(async () => "granted");
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("Notification", { permission: "default", requestPermission });
  await open("general");
  expect(requestPermission).not.toHaveBeenCalled();
  fireEvent.click(field(text.notify));
  await vi.waitFor(() => expect(kept().notify).toBe(true));
  expect(requestPermission).toHaveBeenCalledOnce();
});

test("a permission that was refused leaves notifications off and says why", async () => {
  vi.stubGlobal("isSecureContext", true);
  vi.stubGlobal("Notification", { permission: "default", requestPermission: async () => "denied" });
  await open("general");
  fireEvent.click(field(text.notify));
  await screen.findByText(text.notifyImpossible.denied);
  expect(field(text.notify).disabled).toBe(true);
  expect(kept().notify).toBe(false);
});

test("inside an app's page there is nothing to say about notifications, which are the app's", async () => {
  page = new ChatPage({ api, isEmbedded: true });
  await open("general");
  expect(screen.queryByLabelText(text.notify)).toBeNull();
  expect(field(text.language)).toBeDefined();
});

test("a valid number is kept, and an invalid one never reaches the options", async () => {
  await open("answers");
  const temperature = field(text.options.temperature.label);
  type(temperature, "0,5");
  expect(kept().options).toEqual({ temperature: 0.5 });
  type(temperature, "2,5");
  expect(kept().options).toEqual({ temperature: 0.5 });
  expect(temperature.getAttribute("aria-invalid")).toBe("true");
  expect(screen.getByText("Temperature must be a number from 0 to 2.")).toBeDefined();
});

test("an emptied field is the server's choice", async () => {
  page.setPreferences({ options: { top_k: 40, seed: 1 } });
  await open("answers");
  type(field(text.options.top_k.label), "");
  expect(kept().options).toEqual({ seed: 1 });
});

test("one option or all can be left to the server", async () => {
  page.setPreferences({ options: { top_k: 40, seed: 1, thinking: true, system: "Be brief." } });
  await open("answers");
  fireEvent.click(button(text.reset(text.options.seed.label)));
  expect(kept().options).toEqual({ top_k: 40, thinking: true, system: "Be brief." });
  type(field(text.options.top_p.label), "wrong");
  fireEvent.click(button(text.resetAll));
  expect(kept().options).toEqual({});
  expect(field(text.options.top_p.label).value).toBe("");
  expect(field(text.system).value).toBe("");
});

test("thinking has three states", async () => {
  await open("answers");
  const group = within(screen.getByRole("group", { name: text.thinking, hidden: true }));
  fireEvent.click(group.getByLabelText(text.on));
  expect(kept().options).toEqual({ thinking: true });
  fireEvent.click(group.getByLabelText(text.off));
  expect(kept().options).toEqual({ thinking: false });
  fireEvent.click(group.getByLabelText(text.serverChoice));
  expect(kept().options).toEqual({});
});

test("system prompt and stop strings are kept", async () => {
  await open("answers");
  type(field(text.system), "Be brief.");
  type(field(text.stop), "END\n\\n");
  expect(kept().options).toEqual({ system: "Be brief.", stop: ["END", "\n"] });
});

test("a conversation's own system prompt goes to the server when it is saved", async () => {
  openConversation({ system: "Old" });
  const change = vi.spyOn(page.rest, "change").mockResolvedValue(record);
  await open("conversation");
  expect(button(text.save).disabled).toBe(true);
  type(field(text.ownSystem), "New");
  expect(change).not.toHaveBeenCalled();
  fireEvent.click(button(text.save));
  await screen.findByText(text.saved);
  type(field(text.ownSystem), "");
  fireEvent.click(button(text.save));
  await screen.findByText(text.saved);
  expect(change.mock.calls).toEqual([
    ["c", { system: "New" }],
    ["c", { system: null }],
  ]);
});

test("a system prompt that was not saved says why and stays in the field", async () => {
  openConversation();
  vi.spyOn(page.rest, "change").mockRejectedValue(new ChatError("storage_unavailable", "no disk"));
  await open("conversation");
  type(field(text.ownSystem), "New");
  fireEvent.click(button(text.save));
  await vi.waitFor(() => expect(screen.getByRole("alert", { hidden: true }).textContent).not.toBe(""));
  expect(field(text.ownSystem).value).toBe("New");
});

test("a system prompt beyond the server's limit cannot be saved", async () => {
  openConversation();
  await open("conversation");
  type(field(text.ownSystem), "你".repeat(30_000));
  expect(button(text.save).disabled).toBe(true);
  expect(screen.getByText(/^The system prompt must be at most/)).toBeDefined();
});

test("an own system prompt goes before the general one", () => {
  page.setPreferences({ options: { system: "General", seed: 1 } });
  expect(page.optionsFor(undefined)).toEqual({ system: "General", seed: 1 });
  openConversation();
  expect(page.optionsFor("c")).toEqual({ system: "General", seed: 1 });
  openConversation({ system: "Own" });
  expect(page.optionsFor("c")).toEqual({ seed: 1 });
});

test("nothing is deleted before the word is typed", async () => {
  openConversation();
  const deleteAll = vi.spyOn(page.rest, "deleteAll").mockResolvedValue(3);
  await open("data");
  expect(button(text.deleteButton).disabled).toBe(true);
  type(field(text.deleteConfirm), "delet");
  fireEvent.submit(field(text.deleteConfirm));
  expect(deleteAll).not.toHaveBeenCalled();
  type(field(text.deleteConfirm), " Delete ");
  fireEvent.click(button(text.deleteButton));
  await screen.findByText("3 conversations deleted");
  expect(deleteAll).toHaveBeenCalledOnce();
  expect(page.store.getState().open).toBeUndefined();
});

test("all conversations are exported, page by page, except one that is gone", async () => {
  vi.mocked(page.rest.list).mockImplementation(async ({ before } = {}) =>
    before === undefined
      ? { conversations: [record, { ...record, id: "gone" }], next: "n" }
      : { conversations: [{ ...record, id: "d" }] },
  );
  vi.spyOn(page.rest, "export").mockImplementation(async (id) => {
    if (id === "gone") throw new ChatError("not_found", "gone");
    return { corral_export: 1, conversation: { ...record, id }, messages: [] };
  });
  const blobs: Blob[] = [];
  vi.spyOn(URL, "createObjectURL").mockImplementation((blob) => {
    blobs.push(blob as Blob);
    return "blob:x";
  });
  await open("data");
  fireEvent.click(button(text.exportButton));
  await screen.findByText("2 conversations exported");
  const documents = JSON.parse((await blobs[0]?.text()) ?? "");
  expect(documents.map((document: { conversation: Conversation }) => document.conversation.id)).toEqual([
    "c",
    "d",
  ]);
});

test("the model and what it can do are told, also when they change", async () => {
  await open("about");
  const rows = () =>
    [...document.querySelectorAll(".about > div")].map((row) =>
      [...row.children].map(({ textContent }) => textContent),
    );
  expect(rows()).toContainEqual([text.model, "qwen3"]);
  expect(rows()).toContainEqual([text.context, "8,192 tokens"]);
  expect(rows()).toContainEqual([text.images, text.no]);
  const model = { ...welcome.model, images: true, state: "loading" as const };
  act(() => page.store.setState(({ chat }) => ({ chat: { ...chat, welcome: { ...welcome, model } } })));
  expect(rows()).toContainEqual([text.images, text.yes]);
  expect(rows()).toContainEqual([text.modelState, text.modelStates.loading]);
});

test("arrow keys move between the sections", async () => {
  await open("general");
  const tab = (name: string) => screen.getByRole("tab", { name, hidden: true });
  fireEvent.keyDown(tab(text.sectionNames.general), { key: "ArrowDown" });
  expect(document.activeElement).toBe(tab(text.sectionNames.answers));
  fireEvent.keyDown(tab(text.sectionNames.answers), { key: "ArrowUp" });
  fireEvent.keyDown(tab(text.sectionNames.general), { key: "ArrowUp" });
  expect(tab(text.sectionNames.about).getAttribute("aria-selected")).toBe("true");
});
