/** Two people in one browser, one after the other: neither reads nor sends what the other has written. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ChatPage } from "../../src/app/page";
import { NEW } from "../../src/app/state";
import { FakeServer, welcome } from "../client/fakeServer";
import { API } from "./fakeGateway";

const HELLO = [{ type: "text" as const, text: "Hello" }];
const ends: (() => void)[] = [];

beforeEach(() => {
  localStorage.clear();
  FakeServer.all = [];
  vi.stubGlobal("WebSocket", FakeServer);
  vi.stubGlobal("fetch", async () => Response.json({ conversations: [] }));
});

afterEach(() => {
  for (const end of ends.splice(0)) end();
});

/** Opens the chat, and says how often it was told that somebody else is signed in. */
function visit() {
  const onOtherUser = vi.fn();
  const page = new ChatPage({ api: API, onOtherUser });
  ends.push(page.start());
  return { page, onOtherUser };
}

/** The server answers, and knows this person. */
function welcomes(user: string): void {
  FakeServer.last.onopen?.();
  FakeServer.last.says({ ...welcome, user: { id: user } });
}

const sends = () => FakeServer.last.asked.filter(({ type }) => type === "send");

test("another person finds neither drafts nor messages, and the first one finds them again", async () => {
  const { page } = visit();
  welcomes("alice");
  FakeServer.last.breaks();
  page.send({ content: HELLO });
  page.drafts.set({ text: "secret", attachments: [] }, NEW);
  ends.pop()?.();

  const bob = visit();
  bob.page.send({ content: [{ type: "text", text: "I am Bob" }] });
  welcomes("bob");
  expect(sends()).toMatchObject([{ content: [{ text: "I am Bob" }] }]);
  FakeServer.last.says({
    type: "accepted",
    re: FakeServer.last.idOf("send"),
    conversation: "c",
    revision: 1,
    message: "m",
    answer: "a",
    options: {},
  });
  await vi.waitFor(() => expect(bob.page.store.getState().open).toBe("c"));
  const { outbox, drafts } = bob.page.store.getState();
  expect([bob.onOtherUser.mock.calls.length, outbox, drafts.size]).toEqual([0, [], 0]);
  bob.page.drafts.set({ text: "mine", attachments: [] }, NEW);
  ends.pop()?.();

  const again = visit();
  welcomes("alice");
  expect(again.page.drafts.get(NEW).text).toBe("secret");
  expect(sends()).toMatchObject([{ content: HELLO }]);
});

test("a browser without cookies is somebody new at each visit, and stays on the page", () => {
  for (const user of ["one", "two", "three"]) {
    const { onOtherUser } = visit();
    welcomes(user);
    expect(onOtherUser).not.toHaveBeenCalled();
    ends.pop()?.();
  }
});

test("a chat that comes back as somebody else sends nothing more", () => {
  const { page, onOtherUser } = visit();
  welcomes("alice");
  FakeServer.last.breaks();
  page.send({ content: HELLO });
  page.client.reconnectNow();
  welcomes("bob");
  expect([onOtherUser.mock.calls.length, sends()]).toEqual([1, []]);
});

test("what a chat had not sent when it came back as somebody else stays with its owner", async () => {
  const { page } = visit();
  welcomes("alice");
  FakeServer.last.breaks();
  page.send({ content: HELLO });
  page.client.reconnectNow();
  welcomes("bob");
  await vi.waitFor(() => expect(page.store.getState().outbox).toMatchObject([{ error: { code: "closed" } }]));
  page.drafts.set({ text: "secret", attachments: [] }, NEW);
  ends.pop()?.();

  const bob = visit().page;
  welcomes("bob");
  const { outbox, drafts } = bob.store.getState();
  expect([outbox, drafts.size, sends()]).toEqual([[], 0, []]);
  ends.pop()?.();

  const again = visit().page;
  welcomes("alice");
  expect(again.drafts.get(NEW).text).toBe("secret");
  expect(sends()).toMatchObject([{ content: HELLO }]);
});

test("what is written before anybody is known belongs to the first who is", () => {
  const { page } = visit();
  page.drafts.set({ text: "early", attachments: [] }, NEW);
  page.send({ content: HELLO });
  welcomes("alice");
  expect(sends()).toMatchObject([{ content: HELLO }]);
  ends.pop()?.();
  expect(visit().page.drafts.get(NEW).text).toBe("early");
});

test("what one tab sets counts in the others, and none of them undoes it", () => {
  const one = visit().page;
  const two = visit().page;
  one.setPreferences({ options: { system: "Be brief." } });
  dispatchEvent(new StorageEvent("storage", { key: "corral.preferences" }));
  two.setPreferences({ sidebar: false });
  expect(visit().page.store.getState().preferences).toMatchObject({
    options: { system: "Be brief." },
    sidebar: false,
  });
});
