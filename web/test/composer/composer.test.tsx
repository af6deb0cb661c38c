/** The field as a person uses it, before a fake server. */
import { act, cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { PageContext } from "../../src/app/context";
import { ChatPage } from "../../src/app/page";
import { NEW } from "../../src/app/state";
import { LanguageContext } from "../../src/app/words";
import { type Answer, ChatError, type Message } from "../../src/client";
import { Composer } from "../../src/composer/Composer";
import { words } from "../../src/composer/words";
import { welcome } from "../client/fakeServer";

const text = words.en;
const api = new URL("http://localhost/api/v1/");
let page: ChatPage;
let touch: boolean;

// What reads files is loaded with the first one, which takes long on a busy machine.
beforeAll(() => import("../../src/composer/attaching"));
beforeEach(() => {
  localStorage.clear();
  touch = false;
  vi.stubGlobal("matchMedia", (query: string) => ({
    matches: query === "(pointer: coarse)" ? touch : !touch,
    addEventListener: () => {},
    removeEventListener: () => {},
  }));
});
afterEach(cleanup);

function start({ isEmbedded = false } = {}) {
  page = new ChatPage({ api, isEmbedded });
  page.store.setState(({ chat }) => ({
    chat: { ...chat, welcome, link: { name: "open" } as typeof chat.link },
  }));
  vi.spyOn(page.rest, "countTokens").mockRejectedValue(new ChatError("not_found", "an older gateway"));
  vi.spyOn(page, "send").mockReturnValue();
  vi.spyOn(page, "stop").mockReturnValue();
  const onSent = vi.fn();
  render(
    <PageContext value={page}>
      <LanguageContext value="en">
        <div className="corral">
          <Composer onSent={onSent} />
          <button type="button">elsewhere</button>
          <input aria-label="other" />
          <dialog />
        </div>
      </LanguageContext>
    </PageContext>,
  );
  return onSent;
}

const field = () => screen.getByRole<HTMLTextAreaElement>("textbox", { name: text.message });
const write = (value: string) => fireEvent.change(field(), { target: { value } });
const press = (key: string, more = {}, at: Element = field()) => fireEvent.keyDown(at, { key, ...more });
const sent = (words: string) => ({ content: [{ type: "text", text: words }] });

/** An open conversation with a question and its answer. */
function open(status: Answer["status"]) {
  const question: Message = { id: "q", parent: null, role: "user", created_ms: 1, content: [] };
  const reply: Message = { id: "a", parent: "q", role: "assistant", created_ms: 2 };
  const answer: Answer = {
    id: "a",
    conversation: "c",
    status,
    text: "",
    reasoning: "",
    position: 0,
    options: {},
    context: { left_out: 0, used: 2048, size: 8192 },
  };
  act(() =>
    page.store.setState(({ chat }) => ({
      open: "c",
      chat: {
        ...chat,
        answers: new Map([["a", answer]]),
        chats: new Map([
          [
            "c",
            {
              id: "c",
              revision: 1,
              latest: 1,
              leaf: "a",
              messages: new Map([question, reply].map((message) => [message.id, message])),
              deleted: false,
            },
          ],
        ]),
      },
    })),
  );
}

test("Enter sends what is written, and the field is empty and has the focus", () => {
  const onSent = start();
  write("Hello");
  press("Enter");
  expect(page.send).toHaveBeenCalledExactlyOnceWith(sent("Hello"));
  expect(field().value).toBe("");
  expect(document.activeElement).toBe(field());
  expect(onSent).toHaveBeenCalledOnce();
});

test("an Enter that belongs to an input method sends nothing", () => {
  start();
  write("nihao");
  press("Enter", { isComposing: true });
  press("Enter", { keyCode: 229 });
  fireEvent.compositionEnd(field());
  press("Enter");
  expect(page.send).not.toHaveBeenCalled();
});

test("blanks alone are not sent", () => {
  start();
  write(" \n ");
  press("Enter");
  expect(page.send).not.toHaveBeenCalled();
  expect(screen.getByRole<HTMLButtonElement>("button", { name: text.send }).disabled).toBe(true);
});

test("on a phone Enter begins a new line, and the button sends", () => {
  touch = true;
  start();
  write("Hello");
  press("Enter");
  expect(page.send).not.toHaveBeenCalled();
  fireEvent.click(screen.getByRole("button", { name: text.send }));
  expect(page.send).toHaveBeenCalledExactlyOnceWith(sent("Hello"));
});

test("the field has the focus at the start where there is a mouse", () => {
  start();
  expect(document.activeElement).toBe(field());
});

test("neither a phone nor an app's page loses its focus at the start", () => {
  touch = true;
  start();
  expect(document.activeElement).toBe(document.body);
  cleanup();
  touch = false;
  start({ isEmbedded: true });
  expect(document.activeElement).toBe(document.body);
});

test("typing anywhere goes to the field, except from another field", () => {
  start();
  const button = screen.getByText("elsewhere");
  button.focus();
  press("x", { ctrlKey: true }, button);
  expect(document.activeElement).toBe(button);
  press("x", {}, button);
  expect(document.activeElement).toBe(field());
  const other = screen.getByLabelText("other");
  other.focus();
  press("x", {}, other);
  expect(document.activeElement).toBe(other);
});

test("inside an app's page only keys pressed in the chat go to the field", () => {
  start({ isEmbedded: true });
  press("x", {}, document.body);
  expect(document.activeElement).toBe(document.body);
  const button = screen.getByText("elsewhere");
  button.focus();
  press("x", {}, button);
  expect(document.activeElement).toBe(field());
});

test("Escape stops the answer from anywhere, and never through a dialog", () => {
  start();
  open("running");
  document.querySelector("dialog")?.setAttribute("open", "");
  press("Escape", {}, document.body);
  expect(page.stop).not.toHaveBeenCalled();
  document.querySelector("dialog")?.removeAttribute("open");
  press("Escape", {}, document.body);
  press("Escape");
  expect(page.stop).toHaveBeenCalledTimes(2);
});

test("Escape that closes the list of a narrow chat stops no answer", () => {
  start({ isEmbedded: true });
  open("running");
  const chat = document.querySelector<HTMLElement>(".corral");
  Object.assign(chat?.dataset ?? {}, { width: "narrow", sidebar: "open" });
  const list = screen.getByRole("button", { name: "elsewhere" });
  list.focus();
  press("Escape", {}, list);
  expect(page.stop).not.toHaveBeenCalled();
  Object.assign(chat?.dataset ?? {}, { sidebar: "closed" });
  press("Escape", {}, list);
  expect(page.stop).toHaveBeenCalledOnce();
});

test("Escape without an answer does nothing", () => {
  start();
  open("done");
  press("Escape");
  expect(page.stop).not.toHaveBeenCalled();
});

test("while an answer runs the button stops it, and sending is still possible", () => {
  start();
  open("running");
  expect(screen.getByText(text.queues)).toBeDefined();
  fireEvent.click(screen.getByRole("button", { name: text.stop }));
  expect(page.stop).toHaveBeenCalledOnce();
  write("And then?");
  press("Enter");
  expect(page.send).toHaveBeenCalledExactlyOnceWith(sent("And then?"));
});

test("arrow up in the empty field edits the last message", () => {
  start();
  open("done");
  write("draft");
  press("ArrowUp");
  expect(page.store.getState().editing).toBeUndefined();
  write("");
  press("ArrowUp");
  expect(page.store.getState().editing).toBe("q");
});

test("without a connection a message can be written and sent, and a hint says when it goes", () => {
  start();
  act(() =>
    page.store.setState(({ chat }) => ({
      chat: { ...chat, link: { name: "waiting", retryAt: 0, code: 1006 } as typeof chat.link },
    })),
  );
  expect(screen.getByText(text.offline)).toBeDefined();
  write("Hello");
  press("Enter");
  expect(page.send).toHaveBeenCalledExactlyOnceWith(sent("Hello"));
});

test("each conversation has its own draft", () => {
  start();
  write("for a new one");
  open("done");
  expect(field().value).toBe("");
  write("for this one");
  act(() => page.open(undefined));
  expect(field().value).toBe("for a new one");
  expect(page.drafts.get("c").text).toBe("for this one");
  expect(page.drafts.get(NEW).text).toBe("for a new one");
});

test("the drafts of two tabs are both kept", () => {
  start();
  const other = new ChatPage({ api });
  write("for a new one");
  other.drafts.set({ text: "from the other tab", attachments: [] }, "c");
  write("for a new one, longer");
  press("Enter");
  expect(JSON.parse(localStorage.getItem("corral.drafts") ?? "[]")).toEqual([
    ["c", "from the other tab", sessionStorage.getItem("corral.tab")],
  ]);
});

test("what another tab has written to the same conversation is not deleted by sending here", () => {
  start();
  const other = new ChatPage({ api });
  write("from this tab");
  other.drafts.set({ text: "from the other tab", attachments: [] }, NEW);
  press("Enter");
  expect(page.drafts.get(NEW).text).toBe("");
  const reloaded = new ChatPage({ api });
  reloaded.drafts.restore();
  expect(reloaded.drafts.get(NEW).text).toBe("from the other tab");
});

/** A page in a tab of its own, or in this one again. It has restored its drafts. */
function openTab(tab?: string): { tab: string | null; drafts: ChatPage["drafts"] } {
  sessionStorage.clear();
  if (tab) sessionStorage.setItem("corral.tab", tab);
  const { drafts } = new ChatPage({ api });
  drafts.restore();
  return { tab: sessionStorage.getItem("corral.tab"), drafts };
}

const draft = (text: string) => ({ text, attachments: [] });

test("two tabs that write new chats each find their own words after a reload", () => {
  const one = openTab();
  const two = openTab();
  one.drafts.set(draft("from one"), NEW);
  two.drafts.set(draft("from two"), NEW);
  one.drafts.set(draft("from one, longer"), NEW);
  two.drafts.set(draft("from two, longer"), NEW);
  const after = [one, two].map(({ tab }) => openTab(tab ?? "").drafts.get(NEW).text);
  expect(after).toEqual(["from one, longer", "from two, longer"]);

  two.drafts.set(draft(""), NEW);
  expect(openTab(one.tab ?? "").drafts.get(NEW).text).toBe("from one, longer");
});

test("a tab that is closed leaves its draft to the next one, which sends it once", () => {
  openTab().drafts.set(draft("left behind"), NEW);
  const next = openTab();
  expect(next.drafts.get(NEW).text).toBe("left behind");
  next.drafts.set(draft(""), NEW);
  expect([openTab().drafts.get(NEW).text, localStorage.getItem("corral.drafts")]).toEqual(["", null]);
});

test("a draft of an older version of the page is still there, and can be changed", () => {
  localStorage.setItem("corral.drafts", JSON.stringify([["c", "old"]]));
  const { drafts, tab } = openTab();
  expect(drafts.get("c").text).toBe("old");
  drafts.set(draft("newer"), "c");
  expect(JSON.parse(localStorage.getItem("corral.drafts") ?? "[]")).toEqual([["c", "newer", tab]]);
});

test("a pasted file becomes an attachment that is sent before the words", async () => {
  start();
  const files = [new File(["let a;"], "a.js")];
  fireEvent.paste(field(), { clipboardData: { types: ["Files"], files } });
  write("Explain");
  press("Enter");
  expect(page.send, "while it is read").not.toHaveBeenCalled();
  await screen.findByRole("button", { name: /^a\.js/ });
  press("Enter");
  expect(page.send).toHaveBeenCalledExactlyOnceWith({
    content: [
      { type: "text", text: '<file name="a.js">\nlet a;\n</file>' },
      { type: "text", text: "Explain" },
    ],
  });
});

test("a paste from an office program is its text, not the picture of it", () => {
  start();
  const files = [new File(["x"], "image.png")];
  fireEvent.paste(field(), { clipboardData: { types: ["text/plain", "text/html", "Files"], files } });
  expect(page.drafts.get().attachments).toEqual([]);
});

test("a file can be dropped anywhere on the chat, and text cannot", () => {
  start();
  const chat = document.querySelector(".corral") as Element;
  fireEvent.dragOver(chat, { dataTransfer: { types: ["text/plain"] } });
  expect(screen.queryByText(text.drop)).toBeNull();
  fireEvent.dragOver(chat, { dataTransfer: { types: ["Files"] } });
  expect(screen.getByText(text.drop)).toBeDefined();
  const dropped = fireEvent.drop(chat, {
    dataTransfer: { types: ["Files"], files: [new File(["x"], "a.txt")] },
  });
  expect(dropped, "the browser opens nothing").toBe(false);
  expect(screen.queryByText(text.drop)).toBeNull();
  expect(page.drafts.get().attachments.map(({ name }) => name)).toEqual(["a.txt"]);
});

test("a file that cannot go along says why and can be taken out", async () => {
  start();
  fireEvent.paste(field(), { clipboardData: { types: ["Files"], files: [new File([""], "a.txt")] } });
  expect((await screen.findByRole("alert")).textContent).toBe("This file is empty.");
  fireEvent.click(screen.getByRole("button", { name: text.remove("a.txt") }));
  expect(page.drafts.get().attachments).toEqual([]);
});

test("a message beyond the limit says so and is not sent", () => {
  start();
  write("x".repeat(140_000));
  expect(screen.getByText(/^This message has 140 kB/)).toBeDefined();
  press("Enter");
  expect(page.send).not.toHaveBeenCalled();
});

test("the meter says how much of the context is in use", () => {
  start();
  open("done");
  expect(
    screen.getByRole("button", { name: "25% of the context is in use: 2,048 of 8,192 tokens" }),
  ).toBeDefined();
});
