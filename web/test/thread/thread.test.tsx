/** The thread as people use it: a page whose server is the test. */
import { act, cleanup, fireEvent, screen, within } from "@testing-library/react";
import { afterEach, describe, expect, test, vi } from "vitest";
import { fileToPart } from "../../src/app/content";
import { describeError } from "../../src/app/errorWords";
import { words } from "../../src/thread/words";
import { words as uiWords } from "../../src/ui/words";
import { FakeServer, welcome } from "../client/fakeServer";
import { answer, CHAT, cleanUp, FakeHttp, id, question, type Shown, show, turns } from "./harness";

const text = words.en;

afterEach(() => {
  cleanup();
  cleanUp();
});

function server(messages = turns(2), record = {}): FakeHttp {
  const http = new FakeHttp();
  http.has(messages, record);
  return http;
}

function press(name: string, within_: HTMLElement = document.body): void {
  fireEvent.click(within(within_).getByRole("button", { name }));
}

function row(number: number): HTMLElement {
  const found = document.querySelector<HTMLElement>(`[data-message="${id(number)}"]`);
  if (!found) throw new Error(`message ${number} is not shown`);
  return found;
}

function shownTexts(): string[] {
  return [...document.querySelectorAll(".bubble-text, .answer .markdown")].map((it) => it.textContent ?? "");
}

function asked(): object[] {
  return FakeServer.last.asked.filter(({ type }) => !type.startsWith("watch"));
}

/** Takes the last request of a type, with these ids. */
function accepts(shown: Shown, type: string, message: number, answered: number, revision = 2): Promise<void> {
  return shown.says({
    type: "accepted",
    re: FakeServer.last.idOf(type),
    conversation: CHAT,
    revision,
    message: id(message),
    answer: id(answered),
    options: {},
  });
}

function running(): FakeHttp {
  return server([question(1, "a"), answer(2, id(1), { status: "running", text: "", position: 0 })]);
}

describe("messages", () => {
  test("an answer is copied as the Markdown that the model wrote", async () => {
    const written: string[] = [];
    vi.stubGlobal("navigator", {
      ...navigator,
      language: "en",
      clipboard: { writeText: async (text: string) => void written.push(text) },
    });
    const { settle } = await show({
      http: server([question(1, "a"), answer(2, id(1), { text: "**b** `c`" })]),
    });
    press(text.copy, row(2));
    await settle();
    expect(written).toEqual(["**b** `c`"]);
    expect(within(row(2)).getByRole("button", { name: uiWords.en.copied })).toBeTruthy();
  });

  test("another answer is asked for, shown beside the old one, and the arrows lead back", async () => {
    const shown = await show({ http: server([question(1, "a"), answer(2, id(1), { text: "one" })]) });
    press(text.regenerate, row(2));
    expect(asked()).toEqual([{ type: "regenerate", message: id(2) }]);
    await accepts(shown, "regenerate", 1, 3);
    await shown.says(
      { type: "delta", answer: id(3), position: 3, text: "two" },
      { type: "done", answer: id(3), position: 3, status: "done", finish_reason: "stop", revision: 3 },
    );
    expect(shownTexts()).toEqual(["a", "two"]);
    expect(within(row(3)).getByRole("group", { name: text.versions }).textContent).toBe("2 / 2");
    press(text.previous, row(3));
    expect(shownTexts()).toEqual(["a", "one"]);
    expect(within(row(2)).getByRole("group", { name: text.versions }).textContent).toBe("1 / 2");
    expect(shown.scrolledToEnd()).toBe(1);
  });

  test("a cut answer says why it ended and goes on where it was cut", async () => {
    const cut = answer(2, id(1), { text: "one", finish_reason: "length" });
    const shown = await show({ http: server([question(1, "a"), cut]) });
    expect(row(2).textContent).toContain(text.ends.length);
    press(text.continue, row(2));
    expect(asked()).toEqual([{ type: "continue", message: id(2) }]);
    await accepts(shown, "continue", 1, 2);
    await shown.says({ type: "delta", answer: id(2), position: 7, text: " two" });
    expect(shownTexts()).toEqual(["a", "one two"]);
    expect(row(2).textContent).not.toContain(text.ends.length);
  });

  test("an edited question is asked beside the old one, with its files and the parent of the old", async () => {
    const file = fileToPart({ name: "a.txt", text: "abc" });
    const messages = turns(2);
    const third = messages[2];
    if (third) third.content = [file, { type: "text", text: "old" }];
    const shown = await show({ http: server(messages) });
    press(text.edit, row(3));
    const field = screen.getByRole("textbox", { name: text.editMessage });
    expect(document.activeElement).toBe(field);
    fireEvent.change(field, { target: { value: "new" } });
    fireEvent.keyDown(field, { key: "Enter" });
    const content = [file, { type: "text", text: "new" }];
    expect(asked()).toEqual([{ type: "send", conversation: CHAT, parent: id(2), content }]);
    await shown.settle();
    expect(shownTexts()).toEqual(["question 1", "answer 2", "new"]);
    await accepts(shown, "send", 5, 6);
    expect(shownTexts()).toEqual(["question 1", "answer 2", "new"]);
    expect(within(row(5)).getByRole("group", { name: text.versions }).textContent).toBe("2 / 2");
  });

  test("the first question is edited at the root", async () => {
    const shown = await show({ http: server() });
    press(text.edit, row(1));
    const field = screen.getByRole("textbox", { name: text.editMessage });
    fireEvent.change(field, { target: { value: "new" } });
    press(text.send);
    await shown.settle();
    expect(asked()).toMatchObject([{ type: "send", parent: null }]);
    expect(shownTexts()).toEqual(["new"]);
  });

  test("a message to an older version follows that version, taken or not, and also when it is refused", async () => {
    const newer = [question(5, "new", id(2)), answer(6, id(5), { text: "newer" })];
    const shown = await show({ http: server([...turns(2), ...newer]) });
    press(text.previous, row(5));
    const older = ["question 1", "answer 2", "question 3", "answer 4"];
    expect(shownTexts()).toEqual(older);
    const content = [{ type: "text" as const, text: "go on" }];
    await act(async () => shown.page.send({ content }));
    expect(asked()).toEqual([{ type: "send", conversation: CHAT, parent: id(4), content }]);
    expect(shownTexts()).toEqual([...older, "go on"]);
    const refused = { re: FakeServer.last.idOf("send"), code: "rate_limited", message: "" } as const;
    await shown.says({ type: "error", ...refused });
    expect(shownTexts()).toEqual([...older, "go on"]);
    press(text.tryAgain);
    await accepts(shown, "send", 7, 8);
    expect(shownTexts()).toEqual([...older, "go on"]);
  });

  test("Escape leaves a question as it was, and nobody else hears it", async () => {
    await show({ http: server() });
    const heard = vi.fn();
    document.addEventListener("keydown", heard);
    press(text.edit, row(1));
    fireEvent.keyDown(screen.getByRole("textbox", { name: text.editMessage }), { key: "Escape" });
    document.removeEventListener("keydown", heard);
    expect([shownTexts()[0], asked(), heard.mock.calls.length]).toEqual(["question 1", [], 0]);
  });

  test("the focus goes back to the composer when an edit ends", async () => {
    await show({ http: server() });
    const composer = document.querySelector(".composer textarea");
    press(text.edit, row(1));
    fireEvent.keyDown(screen.getByRole("textbox", { name: text.editMessage }), { key: "Escape" });
    expect(document.activeElement).toBe(composer);
    press(text.edit, row(1));
    press(text.send);
    expect(document.activeElement).toBe(composer);
  });

  test("no press takes the focus away: the arrows keep it, and what goes gives it to the composer", async () => {
    const composer = () => document.querySelector(".composer textarea");
    const messages = [
      question(1, "a"),
      answer(2, id(1), { text: "one" }),
      answer(3, id(1), { text: "two", finish_reason: "length" }),
      answer(4, id(1), { text: "three" }),
    ];
    await show({ http: server(messages) });
    const named = () => document.activeElement?.getAttribute("aria-label");
    press(text.previous, row(4));
    expect([row(3).contains(document.activeElement), named()]).toEqual([true, text.previous]);
    press(text.previous, row(3));
    expect([row(2).contains(document.activeElement), named()]).toEqual([true, text.next]);
    press(text.next, row(2));
    press(text.continue, row(3));
    expect(document.activeElement).toBe(composer());
    row(3).querySelector<HTMLElement>(".actions button")?.focus();
    press(text.regenerate, row(3));
    expect(document.activeElement).toBe(composer());
  });

  test("an edit that was left is there again, and one that was given up is not", async () => {
    const shown = await show({ http: server() });
    const field = () => screen.getByRole<HTMLTextAreaElement>("textbox", { name: text.editMessage });
    press(text.edit, row(1));
    fireEvent.change(field(), { target: { value: "half a thought" } });
    await act(async () => shown.page.open(undefined));
    await act(async () => shown.page.open(CHAT));
    await shown.settle();
    press(text.edit, row(1));
    expect(field().value).toBe("half a thought");
    press(text.cancel);
    press(text.edit, row(1));
    expect([field().value, shown.page.store.getState().drafts.size]).toEqual(["question 1", 0]);
  });

  test("an Enter that composes does not send an edited question", async () => {
    await show({ http: server() });
    press(text.edit, row(1));
    const field = screen.getByRole("textbox", { name: text.editMessage });
    fireEvent.keyDown(field, { key: "Enter", isComposing: true });
    fireEvent.keyDown(field, { key: "Enter", keyCode: 229 });
    fireEvent.keyDown(field, { key: "Enter", shiftKey: true });
    expect(asked()).toEqual([]);
  });

  test("nothing is asked again while an answer runs", async () => {
    const messages = [
      ...turns(1),
      question(3, "b", id(2)),
      answer(4, id(3), { status: "running", text: "x" }),
    ];
    await show({ http: server(messages) });
    expect(within(row(2)).queryByRole("button", { name: text.regenerate })).toBeNull();
    expect(within(row(2)).getByRole("button", { name: text.copy })).toBeTruthy();
  });

  test("files are chips that open, images open large, and long questions are folded", async () => {
    const asked = question(1, "");
    asked.content = [
      fileToPart({ name: "main.rs", text: "fn main() {}" }),
      { type: "image", data_url: "data:image/png;base64,AAAA" },
      { type: "image", data_url: "https://evil.invalid/x.png" },
      { type: "text", text: "line\n".repeat(40) },
    ];
    await show({ http: server([asked, answer(2, id(1))]) });
    expect(document.querySelectorAll("img")).toHaveLength(1);
    press("main.rs 12 bytes", row(1));
    expect(screen.getByRole("dialog").textContent).toContain("fn main() {}");
    const fold = within(row(1)).getByRole("button", { name: text.showMore });
    expect(row(1).querySelector(".bubble-text")?.getAttribute("data-folded")).toBe("true");
    fireEvent.click(fold);
    expect(row(1).querySelector(".bubble-text")?.getAttribute("data-folded")).toBe("false");
  });

  test("an ended answer tells its speed, its length and when it began", async () => {
    const usage = { prompt_tokens: 9, cached_tokens: 0, completion_tokens: 42 };
    const timings = { first_token_ms: 400, writing_ms: 2000, tokens_per_second: 21 };
    await show({ http: server([question(1, "a"), answer(2, id(1), { usage, timings })]) });
    const facts = row(2).querySelector(".facts")?.textContent;
    expect(facts).toContain("21 tokens/s42 tokensbegan after 0.4 s");
  });
});

describe("messages that wait", () => {
  function queue(): FakeHttp {
    return server([
      question(1, "a"),
      answer(2, id(1), { status: "running", text: "" }),
      question(3, "b", id(2)),
      answer(4, id(3), { status: "waiting", text: "" }),
      question(5, "c", id(4)),
      answer(6, id(5), { status: "waiting", text: "" }),
    ]);
  }

  test("one that waits behind an answer can be edited in its place", async () => {
    const shown = await show({ http: queue() });
    press(text.edit, row(5));
    const field = screen.getByRole("textbox", { name: text.editMessage });
    fireEvent.change(field, { target: { value: "d" } });
    press(text.save);
    const content = [{ type: "text", text: "d" }];
    expect(asked()).toEqual([{ type: "edit_queued", message: id(5), content }]);
    await shown.says({ type: "ok", re: FakeServer.last.idOf("edit_queued") });
    expect(shownTexts()).toEqual(["a", "b", "d"]);
  });

  test("what was edited too late is not lost", async () => {
    const shown = await show({ http: queue() });
    press(text.edit, row(5));
    const field = screen.getByRole<HTMLTextAreaElement>("textbox", { name: text.editMessage });
    fireEvent.change(field, { target: { value: "d" } });
    press(text.save);
    const re = FakeServer.last.idOf("edit_queued");
    await shown.says({ type: "error", re, code: "conflict", message: "too late" });
    expect(field.value).toBe("d");
    const [notice] = shown.page.store.getState().notices;
    expect(notice?.text).toBe(describeError({ code: "conflict" }, "en"));
  });

  test("one can be removed", async () => {
    const shown = await show({ http: queue() });
    press(text.remove, row(5));
    expect(asked()).toEqual([{ type: "drop_queued", message: id(5) }]);
    await shown.says({ type: "ok", re: FakeServer.last.idOf("drop_queued") });
    expect(shownTexts()).toEqual(["a", "b"]);
  });

  test("the next one can be sent now, which stops the answer before it", async () => {
    await show({ http: queue() });
    expect(within(row(5)).queryByRole("button", { name: text.sendNow })).toBeNull();
    press(text.sendNow, row(3));
    expect(asked()).toEqual([{ type: "stop", message: id(2) }]);
  });
});

describe("messages on their way", () => {
  const content = [{ type: "text" as const, text: "hello" }];

  test("one without a connection is kept and says so, and goes out when there is one", async () => {
    const shown = await show({ connected: false });
    await act(async () => shown.page.send({ content }));
    expect(screen.getByText(text.unsent)).toBeTruthy();
    await act(async () => FakeServer.last.welcomes());
    expect(asked()).toEqual([{ type: "send", content }]);
    expect(screen.queryByText(text.unsent)).toBeNull();
  });

  test("one that is taken is never missing from the page, not even for a moment", async () => {
    const shown = await show({ http: server() });
    await act(async () => shown.page.send({ content }));
    // The next frame is not painted.
    vi.stubGlobal("requestAnimationFrame", () => 0);
    await accepts(shown, "send", 5, 6);
    expect(shownTexts()).toEqual(["question 1", "answer 2", "question 3", "answer 4", "hello"]);
    expect(row(5).textContent).toContain("hello");
  });

  test("a refused one says why, and can be tried again, taken back or discarded", async () => {
    const shown = await show();
    const refuse = async () => {
      const re = FakeServer.last.idOf("send");
      await shown.says({ type: "error", re, code: "rate_limited", message: "", retry_after_seconds: 9 });
    };
    await act(async () => shown.page.send({ content }));
    await refuse();
    const [log] = screen.getAllByRole("log");
    expect(log?.textContent).toContain(describeError({ code: "rate_limited", retryAfterSeconds: 9 }, "en"));
    press(text.tryAgain);
    expect(asked()).toHaveLength(2);
    await refuse();
    await act(async () => shown.page.drafts.set({ text: "later", attachments: [] }));
    press(text.edit);
    expect(shown.page.drafts.get()).toEqual({ text: "hello\n\nlater", attachments: [] });
    expect(shown.page.store.getState().outbox).toEqual([]);
    await act(async () => shown.page.send({ content }));
    await refuse();
    press(text.discard);
    expect(shown.page.store.getState().outbox).toEqual([]);
    expect(screen.getByText(text.welcome)).toBeTruthy();
  });
});

describe("waiting", () => {
  const stage = () => row(2).querySelector(".stage-line")?.textContent;

  test("each stage is told, from the queue to the speed of writing", async () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    const { says } = await show({ http: running() });
    const told = [stage()];
    await says({ type: "queued", answer: id(2), place: 2, wait_seconds: 12 });
    told.push(stage());
    await says({ type: "progress", answer: id(2), phase: "loading", done: 1, total: 4 });
    told.push(stage());
    await says({ type: "progress", answer: id(2), phase: "prompt", done: 512, total: 2048, cached: 256 });
    told.push(stage());
    const bar = screen.getByRole<HTMLProgressElement>("progressbar", { name: text.progress });
    expect([bar.value, bar.max]).toEqual([512, 2048]);
    await says({ type: "progress", answer: id(2), phase: "writing" });
    await says({ type: "delta", answer: id(2), position: 42, text: "a".repeat(42) });
    now.mockReturnValue(1000);
    await says({ type: "delta", answer: id(2), position: 84, text: "a".repeat(42) });
    told.push(stage());
    expect(told).toEqual([
      "Waiting for the model…",
      "Number 2 in the queue · about 12 s",
      "The model is loading… · 25%",
      "Reading the conversation… · 512 of 2,048 tokens · 256 remembered",
      "Writing… · ≈ 10 tokens/s",
    ]);
  });

  test("silence of a model that works is told, that of a queue is not", async () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    const { says } = await show({ http: running() });
    const later = async (ms: number) => {
      now.mockReturnValue(ms);
      await act(async () => void vi.advanceTimersByTime(1000));
      return stage();
    };
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    await says({ type: "queued", answer: id(2), place: 1 });
    const told = [await later(60_000)];
    await says({ type: "progress", answer: id(2), phase: "writing" });
    told.push(await later(65_000), await later(75_000));
    await says({ type: "delta", answer: id(2), position: 1, text: "a" });
    told.push(stage());
    vi.useRealTimers();
    expect(told).toEqual(["Next in the queue", "Writing…", "Writing… · nothing new for 15 s", "Writing…"]);
  });

  test("a lost connection is said in the place of dots, and what is there stays", async () => {
    const { says, settle } = await show({ http: running() });
    await says({ type: "delta", answer: id(2), position: 4, text: "half" });
    await act(async () => FakeServer.last.breaks());
    await settle();
    expect([stage(), shownTexts()]).toEqual([text.lost, ["a", "half"]]);
  });

  test("thoughts are open and timed while they come, closed when the model writes, and open again at will", async () => {
    const now = vi.spyOn(performance, "now").mockReturnValue(0);
    const { says } = await show({ http: running() });
    await says({ type: "progress", answer: id(2), phase: "thinking" });
    await says({ type: "delta", answer: id(2), position: 4, reasoning: "hmm." });
    now.mockReturnValue(12_000);
    await says({ type: "delta", answer: id(2), position: 8, reasoning: "yes." });
    const head = () => within(row(2)).getAllByRole("button")[0] as HTMLElement;
    expect([head().textContent, head().getAttribute("aria-expanded")]).toEqual(["Thinking for 12 s", "true"]);
    expect(row(2).textContent).toContain("hmm.yes.");
    expect(stage()).toBeUndefined();
    await says({ type: "progress", answer: id(2), phase: "writing" });
    await says({ type: "delta", answer: id(2), position: 9, text: "!" });
    expect([head().textContent, head().getAttribute("aria-expanded")]).toEqual(["Thought for 12 s", "false"]);
    expect(row(2).textContent).not.toContain("hmm.yes.");
    fireEvent.click(head());
    expect([head().getAttribute("aria-expanded"), row(2).textContent?.includes("hmm.yes.")]).toEqual([
      "true",
      true,
    ]);
  });
});

describe("ends", () => {
  test("an error stands below the text, in the person's language, and offers what helps", async () => {
    const error = { code: "upstream_error", message: "the model failed" } as const;
    const failed = answer(2, id(1), { status: "failed", text: "half", error });
    await show({ http: server([question(1, "a"), failed]), language: "zh-CN" });
    expect(shownTexts()).toEqual(["a", "half"]);
    expect(row(2).querySelector(".end")?.textContent).toContain("模型出错了。请重试。");
    press("继续", row(2));
    press("重试", row(2));
    expect(asked()).toEqual([
      { type: "continue", message: id(2) },
      { type: "regenerate", message: id(2) },
    ]);
  });

  test.each([
    ["stopped", { status: "stopped", text: "a" }],
    ["interrupted", { status: "interrupted", text: "a" }],
    ["nothing", { status: "done", text: "" }],
  ] as const)("an answer that ended as %s says so", async (name, end) => {
    await show({ http: server([question(1, "a"), answer(2, id(1), end)]) });
    expect(row(2).querySelector(".end-text")?.textContent).toBe(text.ends[name]);
  });

  test("a line shows from where on the model reads", async () => {
    const context = { left_out: 2, used: 700, size: 1000 };
    const messages = [...turns(2), question(5, "c", id(4)), answer(6, id(5), { context })];
    await show({ http: server(messages) });
    expect(row(2).nextElementSibling?.textContent).toBe(text.leftOut);
    expect(screen.getAllByText(text.leftOut)).toHaveLength(1);
  });
});

describe("in the place of a conversation", () => {
  test("a new one names the model, says that it is tiny, and its examples fill the composer", async () => {
    const shown = await show();
    const model = { ...welcome.model, name: "SmolLM2-135M-Instruct.Q4_1.gguf" };
    await shown.says({ type: "model", ...model });
    const says = document.querySelector(".welcome")?.textContent;
    expect(says).toContain("SmolLM2-135M-Instruct.Q4_1, a language model");
    expect(says).toContain(text.tiny);
    expect(says).toContain("docs/models.md");
    const [prompt = ""] = text.prompts;
    press(prompt);
    expect(shown.page.drafts.get().text).toBe(prompt);
  });

  test("a temporary one says what that means", async () => {
    const shown = await show();
    expect(screen.queryByText(text.temporary)).toBeNull();
    await act(async () => shown.page.setTemporary(true));
    expect(document.querySelector(".welcome")?.textContent).toContain(text.temporaryNote);
  });

  test("one that is fetched is shown although there is no connection", async () => {
    const { settle } = await show({ http: server(), connected: false });
    await act(async () => FakeServer.last.breaks());
    await settle();
    expect(shownTexts()).toEqual(["question 1", "answer 2", "question 3", "answer 4"]);
  });

  test("one that is being fetched shows its place", async () => {
    const http = server();
    let open = () => {};
    http.gate = new Promise((resolve) => {
      open = resolve;
    });
    const { settle } = await show({ http });
    expect(screen.getByRole("status", { name: text.loading })).toBeTruthy();
    open();
    await settle();
    expect(shownTexts()).toHaveLength(4);
  });

  test("one that does not exist says so, and one that cannot be had is tried again", async () => {
    const http = new FakeHttp();
    const missing = await show({ http, open: true });
    expect(screen.getByText(text.notFound)).toBeTruthy();
    press(text.newChat);
    expect(screen.getByText(text.welcome)).toBeTruthy();
    http.has(turns(1));
    http.failures.set(`conversations/${CHAT}`, { status: 503, code: "storage_unavailable" });
    await act(async () => missing.page.open(CHAT));
    await missing.settle();
    expect(screen.getByText(describeError({ code: "storage_unavailable" }, "en"))).toBeTruthy();
    http.failures.clear();
    press(text.tryAgain);
    await missing.settle();
    expect(shownTexts()).toEqual(["question 1", "answer 2"]);
  });

  test("a server that wants somebody to sign in says so, and goes on when somebody has", async () => {
    const http = server();
    for (const path of ["me", `conversations/${CHAT}`, "conversations"])
      http.failures.set(path, { status: 401, code: "unauthenticated" });
    const shown = await show({ http, connected: false });
    await act(async () => FakeServer.last.breaks());
    await shown.settle();
    expect(screen.getByText(text.signIn)).toBeTruthy();
    http.failures.clear();
    press(text.tryAgain);
    await act(async () => FakeServer.last.welcomes());
    await shown.settle();
    expect(shownTexts()).toEqual(["question 1", "answer 2", "question 3", "answer 4"]);
  });

  test("one that could not be had is fetched when the connection is back", async () => {
    const http = server();
    http.failures.set(`conversations/${CHAT}`, { status: 502, code: "upstream_unavailable" });
    const { page, settle } = await show({ http, connected: false });
    await act(async () => FakeServer.last.breaks());
    await settle();
    expect(screen.getByText(text.loadFailed)).toBeTruthy();
    http.failures.clear();
    await act(async () => page.client.reconnectNow());
    await act(async () => FakeServer.last.welcomes());
    await settle();
    expect(shownTexts()).toHaveLength(4);
  });

  test("a final close is told beside the conversation, with a way back", async () => {
    const shown = await show({ http: server() });
    await act(async () => FakeServer.last.breaks(4409));
    await shown.settle();
    expect(screen.getByRole("alert").textContent).toContain(text.linkTooMany);
    expect(shownTexts()).toHaveLength(4);
    press(text.reconnect);
    await act(async () => FakeServer.last.welcomes());
    await shown.settle();
    expect(screen.queryByRole("alert")).toBeNull();
  });
});

describe("for screen readers", () => {
  test("a copy is said once, in the same place as all else", async () => {
    vi.stubGlobal("navigator", { ...navigator, language: "en", clipboard: { writeText: async () => {} } });
    const { settle } = await show({ http: server() });
    press(text.copy, row(4));
    await settle();
    const said = screen.getAllByRole("status").map((it) => it.textContent);
    expect(said).toEqual([uiWords.en.copied]);
  });

  test("the log is silent, and a status tells the finished answer", async () => {
    const { says } = await show({ http: running() });
    expect(screen.getByRole("log").getAttribute("aria-live")).toBe("off");
    const status = () => {
      const said = screen.getAllByRole("status").map((it) => it.textContent);
      return said.filter((text) => text !== "");
    };
    await says({ type: "delta", answer: id(2), position: 5, text: "**It**" });
    await says({ type: "delta", answer: id(2), position: 11, text: " is so" });
    expect(status()).not.toContain("Answer: It is so");
    await says({ type: "done", answer: id(2), position: 11, status: "done", revision: 2 });
    expect(status()).toEqual(["Answer: It is so"]);
  });
});
