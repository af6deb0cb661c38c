/** What the chat does to a page of its own: the address, the title, the colours around it, and notifications. */
import { beforeEach, expect, test, vi } from "vitest";
import { standalonePage, titleOf } from "../../src/app/standalone";
import type { ServerFrame } from "../../src/client";
import { FakeServer } from "../client/fakeServer";
import { API, conversation, FakeGateway } from "./fakeGateway";

const shown: { title: string; options: NotificationOptions }[] = [];

class FakeNotification {
  static permission = "granted";
  onclick: (() => void) | undefined;
  close(): void {}
  constructor(title: string, options: NotificationOptions) {
    shown.push({ title, options });
  }
}

beforeEach(() => {
  shown.length = 0;
  localStorage.clear();
  history.replaceState(null, "", "/");
  document.head.replaceChildren();
  vi.stubGlobal("Notification", FakeNotification);
});

/** A page with one conversation, connected, in which an answer has begun. */
async function pageWithAnswer() {
  new FakeGateway(conversation("a", { title: "Cheese" }));
  const page = standalonePage({ api: API });
  page.start();
  await vi.waitFor(() => expect(page.store.getState().list.state).toBe("ready"));
  page.open("a");
  await vi.waitFor(() => FakeServer.last.idOf("watch"));
  FakeServer.last.says({ type: "ok", re: FakeServer.last.idOf("watch") });
  void page.client.send({ id: "s1", conversation: "a", content: "Hello" });
  const accepted = { conversation: "a", revision: 1, message: "m1", answer: "m2", options: {} };
  FakeServer.last.says({ type: "accepted", re: "s1", ...accepted });
  return page;
}

function hide(): void {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
}

const done: ServerFrame = { type: "done", answer: "m2", position: 5, status: "done", revision: 2 };

test("the address names the open conversation, and going back opens what was there", async () => {
  const page = await pageWithAnswer();
  expect(location.hash).toBe("#/c/a");
  page.open(undefined);
  expect(location.hash).toBe("");
  history.replaceState(null, "", "#/c/a");
  dispatchEvent(new PopStateEvent("popstate"));
  expect(page.store.getState().open).toBe("a");
});

test("the title names the conversation and counts answers that nobody has seen", async () => {
  const page = await pageWithAnswer();
  await vi.waitFor(() => expect(document.title).toBe("Cheese · Corral"));
  hide();
  FakeServer.last.says(done);
  expect(document.title).toBe("(1) Cheese · Corral");
  page.open(undefined);
  expect(titleOf({ ...page.store.getState(), unread: new Set() })).toBe("Corral");
});

test("an answer that ends in the background is told of by its conversation's title alone", async () => {
  const page = await pageWithAnswer();
  page.setPreferences({ notify: true, language: "en" });
  hide();
  FakeServer.last.says({ type: "delta", answer: "m2", position: 5, text: "Brie!" }, done);
  expect(shown).toEqual([
    { title: "Cheese", options: { body: "The answer is ready.", tag: "a", icon: "./icon-192.png" } },
  ]);
});

test("nobody is notified who looks at the page, has not asked for it, or has stopped the answer", async () => {
  const page = await pageWithAnswer();
  page.setPreferences({ notify: true });
  FakeServer.last.says(done);
  hide();
  FakeServer.last.says({ ...done, status: "stopped" });
  page.setPreferences({ notify: false });
  FakeServer.last.says(done);
  expect(shown).toEqual([]);
});

test("the page around the chat is in the chat's language", () => {
  const page = standalonePage({ api: API });
  page.setPreferences({ language: "zh-CN" });
  expect(document.documentElement.lang).toBe("zh-CN");
  page.setPreferences({ language: "en" });
  expect(document.documentElement.lang).toBe("en");
});

test("a chosen theme reaches the page around the chat and the bar of a phone", () => {
  for (const scheme of ["light", "dark"]) {
    const meta = document.createElement("meta");
    meta.name = "theme-color";
    meta.media = `(prefers-color-scheme: ${scheme})`;
    document.head.append(meta);
  }
  new FakeGateway();
  const page = standalonePage({ api: API });
  const media = () => [...document.querySelectorAll("meta")].map(({ media }) => media);
  page.setPreferences({ theme: "dark" });
  expect([document.documentElement.dataset.theme, media()]).toEqual(["dark", ["not all", "all"]]);
  page.setPreferences({ theme: "system" });
  expect([document.documentElement.dataset.theme, media()]).toEqual([
    "system",
    ["(prefers-color-scheme: light)", "(prefers-color-scheme: dark)"],
  ]);
});
