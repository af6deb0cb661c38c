/** The list of conversations: what is shown at once, and what happens when the server says no. */
import { beforeEach, expect, test, vi } from "vitest";
import type { ChatPage } from "../../src/app/page";
import { FakeServer } from "../client/fakeServer";
import { conversation, FakeGateway } from "./fakeGateway";

let gateway: FakeGateway;
let page: ChatPage;

/** Begins with these conversations, once the list is there. */
async function begin(...ids: string[]): Promise<void> {
  gateway = new FakeGateway(...ids.map((id, at) => conversation(id, { updated_ms: 1000 - at })));
  page = gateway.page();
  stop = page.start();
  await vi.waitFor(() => expect(page.store.getState().list.state).toBe("ready"));
}

let stop = () => {};

beforeEach(() => {
  stop();
  stop = () => {};
});

function shown(): string[] {
  return page.store.getState().list.conversations.map(({ id }) => id);
}

function titles(): string[] {
  return page.store.getState().list.conversations.map(({ title }) => title);
}

/** Holds the server's answers back until the returned function is called. */
function hold(): () => void {
  let release = () => {};
  gateway.gate = new Promise((resolve) => {
    release = () => {
      gateway.gate = undefined;
      resolve();
    };
  });
  return release;
}

test("pinned conversations are first, then the last changed", async () => {
  gateway = new FakeGateway(
    conversation("old", { updated_ms: 1 }),
    conversation("new", { updated_ms: 3 }),
    conversation("pinned", { updated_ms: 2, pinned: true }),
  );
  page = gateway.page();
  await page.conversations.refresh();
  expect(shown()).toEqual(["pinned", "new", "old"]);
});

test("a change shows before the server has answered", async () => {
  await begin("a", "b");
  const release = hold();
  const changed = page.conversations.change("b", { title: "Renamed", pinned: true });
  expect([shown(), titles()]).toEqual([
    ["b", "a"],
    ["Renamed", "Title a"],
  ]);
  release();
  await changed;
  expect(titles()).toEqual(["Renamed", "Title a"]);
});

test("a change that the server refuses is taken back", async () => {
  await begin("a");
  gateway.failsWith = "storage_unavailable";
  const changed = page.conversations.change("a", { title: "Renamed", folder: "Work" });
  expect(titles()).toEqual(["Renamed"]);
  await expect(changed).rejects.toMatchObject({ code: "storage_unavailable" });
  expect(page.store.getState().list.conversations).toEqual(gateway.conversations);
});

test("a list that was asked for before a change does not undo it", async () => {
  await begin("a");
  const release = hold();
  const refreshed = page.conversations.refresh();
  gateway.gate = undefined;
  await page.conversations.change("a", { title: "Renamed" });
  release();
  await refreshed;
  expect(titles()).toEqual(["Renamed"]);
});

/** Connects the list's socket. */
async function watch(): Promise<void> {
  await vi.waitFor(() => FakeServer.last.idOf("watch_list"));
  FakeServer.last.says({ type: "ok", re: FakeServer.last.idOf("watch_list") });
  await vi.waitFor(() => expect(gateway.asked).toHaveLength(2));
}

test("what another tab does shows: a new one, a new title, a delete", async () => {
  await begin("a", "b");
  await watch();
  gateway.conversations = [
    conversation("a", { title: "Renamed", updated_ms: 3 }),
    conversation("c", { updated_ms: 2 }),
  ];
  gateway.asked.length = 0;
  FakeServer.last.says(
    { type: "list", conversation: "a", revision: 2, what: "changed" },
    { type: "list", conversation: "a", revision: 3, what: "changed" },
    { type: "list", conversation: "b", revision: 2, what: "deleted" },
    { type: "list", conversation: "c", revision: 1, what: "created" },
  );
  expect(shown()).toEqual(["a"]);
  await vi.waitFor(() => expect(titles()).toEqual(["Renamed", "Title c"]));
  expect(gateway.asked).toEqual(["GET conversations/a", "GET conversations/c"]);
});

test("when many change at once the list is fetched once, as a whole", async () => {
  await begin("a");
  await watch();
  const ids = ["v", "w", "x", "y", "z"];
  gateway.conversations = ids.map((id) => conversation(id));
  gateway.asked.length = 0;
  for (const id of ids) {
    FakeServer.last.says({ type: "list", conversation: id, revision: 1, what: "created" });
  }
  await vi.waitFor(() => expect(shown()).toHaveLength(5));
  expect(gateway.asked).toEqual(["GET conversations?limit=50"]);
});

test("a list that was on its way while something was deleted is asked for again", async () => {
  await begin("a", "b");
  await watch();
  const release = hold();
  const refreshed = page.conversations.refresh();
  await vi.waitFor(() => expect(gateway.asked).toHaveLength(3));
  FakeServer.last.says({ type: "list", conversation: "b", revision: 2, what: "deleted" });
  gateway.asked.length = 0;
  release();
  await refreshed;
  expect(gateway.asked).toEqual(["GET conversations?limit=50"]);
});

test("a folder is left with null", async () => {
  await begin("a");
  await page.conversations.change("a", { folder: "Work" });
  const release = hold();
  const changed = page.conversations.change("a", { folder: null });
  expect(page.store.getState().list.conversations[0]).not.toHaveProperty("folder");
  release();
  await changed;
});

test("deleting the open conversation opens a new one, and undo opens it again", async () => {
  await begin("a", "b");
  const [a] = page.store.getState().list.conversations;
  if (!a) throw new Error("the list is empty");
  page.open("a");
  const removed = page.conversations.remove(a);
  expect([shown(), page.store.getState().open]).toEqual([["b"], undefined]);
  await removed;
  await page.conversations.restore(a, { open: true });
  expect([shown(), page.store.getState().open]).toEqual([["a", "b"], "a"]);
});

test("a conversation that the server would not delete comes back", async () => {
  await begin("a");
  const [a] = page.store.getState().list.conversations;
  if (!a) throw new Error("the list is empty");
  page.open("a");
  gateway.failsWith = "storage_unavailable";
  await expect(page.conversations.remove(a)).rejects.toMatchObject({ code: "storage_unavailable" });
  expect([shown(), page.store.getState().open]).toEqual([["a"], "a"]);
});

test("a conversation that the server would not delete takes nobody away from another one", async () => {
  await begin("a", "b");
  const [a] = page.store.getState().list.conversations;
  if (!a) throw new Error("the list is empty");
  page.open("a");
  gateway.failsWith = "storage_unavailable";
  const removed = page.conversations.remove(a);
  page.open("b");
  await expect(removed).rejects.toMatchObject({ code: "storage_unavailable" });
  expect(page.store.getState().open).toBe("b");
});

test("deleting what another tab has deleted is no failure", async () => {
  await begin("a");
  const [a] = page.store.getState().list.conversations;
  if (!a) throw new Error("the list is empty");
  gateway.conversations = [];
  await expect(page.conversations.remove(a)).resolves.toBeUndefined();
  expect(shown()).toEqual([]);
});

test("a second page follows the first, and a refresh keeps both", async () => {
  const ids = Array.from({ length: 70 }, (_, at) => `c${at}`);
  await begin(...ids);
  expect(shown()).toEqual(ids.slice(0, 50));
  await Promise.all([page.conversations.more(), page.conversations.more()]);
  expect(shown()).toEqual(ids);
  gateway.asked.length = 0;
  await page.conversations.refresh();
  expect(shown()).toEqual(ids);
  expect(gateway.asked).toEqual(["GET conversations?limit=70"]);
});

test("a page that fails says so, and can be asked for again", async () => {
  const ids = Array.from({ length: 70 }, (_, at) => `c${at}`);
  await begin(...ids);
  gateway.failsWith = "storage_unavailable";
  await expect(page.conversations.more()).rejects.toMatchObject({ code: "storage_unavailable" });
  gateway.failsWith = undefined;
  await page.conversations.more();
  expect(shown()).toEqual(ids);
});

test("a folder is shown in full, however old what is in it", async () => {
  const ids = Array.from({ length: 70 }, (_, at) => `c${at}`);
  gateway = new FakeGateway(...ids.map((id, at) => conversation(id, { updated_ms: 1000 - at })));
  const inWork = [3, 60, 69].map((at) => gateway.conversations[at]);
  for (const filed of inWork) if (filed) filed.folder = "Work";
  page = gateway.page();
  await page.conversations.refresh();
  expect(shown()).toEqual([...ids.slice(0, 50), "c60", "c69"]);
  expect(gateway.asked).toEqual([
    "GET conversations?limit=50",
    "GET folders",
    "GET conversations?folder=Work&limit=100",
  ]);
  await page.conversations.more();
  expect(shown()).toEqual(ids);
});

test("a list that fails says so, and can be asked for again", async () => {
  gateway = new FakeGateway(conversation("a"));
  page = gateway.page();
  gateway.failsWith = "storage_unavailable";
  await page.conversations.refresh();
  expect(page.store.getState().list).toEqual({ conversations: [], state: "failed" });
  gateway.failsWith = undefined;
  await page.conversations.retry();
  expect([page.store.getState().list.state, shown()]).toEqual(["ready", ["a"]]);
});

test("an imported conversation is in the list at once", async () => {
  await begin("a");
  const { conversation: exported } = { conversation: conversation("x") };
  const { id } = await page.conversations.import({ corral_export: 1, conversation: exported, messages: [] });
  expect([id, shown()]).toEqual(["imported", ["imported", "a"]]);
});

test("an answer that ended unseen is seen once the page is", async () => {
  await begin("a");
  page.open("a");
  page.store.setState({ unread: new Set(["a", "b"]) });
  document.dispatchEvent(new Event("visibilitychange"));
  expect([...page.store.getState().unread]).toEqual(["b"]);
});

const message = (id: string, parent: string | null) => ({
  id,
  parent,
  role: "user" as const,
  created_ms: 0,
  content: [],
});

/** Opens the conversation `a`, which has two branches, at a message that search found. */
async function openFound(found: string): Promise<void> {
  await begin("a");
  gateway.conversations = [conversation("a", { leaf: "m3" })];
  gateway.messages.a = [message("m1", null), message("m2", "m1"), message("m3", "m1")];
  page.open("a", found);
  await vi.waitFor(() => expect(FakeServer.last.idOf("watch")).toBeTruthy());
  FakeServer.last.says({ type: "ok", re: FakeServer.last.idOf("watch") });
  await vi.waitFor(() => expect(page.store.getState().focusMessage).toBe(found));
}

/** What each sent message follows. */
const parents = () => FakeServer.last.sent.filter(({ type }) => type === "send").map(({ parent }) => parent);

test("an unseen answer does not count once its conversation is deleted, here or elsewhere", async () => {
  await begin("a", "b", "c");
  page.store.setState({ unread: new Set(["a", "b", "c"]) });
  await page.conversations.remove(conversation("a"));
  expect([...page.store.getState().unread]).toEqual(["b", "c"]);
  FakeServer.last.says({ type: "list", conversation: "b", revision: 2, what: "deleted" });
  expect([...page.store.getState().unread]).toEqual(["c"]);
  FakeServer.last.says({ type: "changed", conversation: "c", revision: 2, what: "deleted" });
  expect([...page.store.getState().unread]).toEqual([]);
});

test.each([
  { more: {}, unread: ["a"] },
  { more: { temporary: true }, unread: [] },
  { more: { temporary: true }, hidden: true, unread: ["a"] },
  { more: {}, deleted: true, unread: [] },
])("of an answer that ends unseen counts what can be found again: %o", async ({ more, unread, ...how }) => {
  await begin("b");
  gateway.conversations = [conversation("a", more), conversation("b")];
  page.open("a");
  await vi.waitFor(() => FakeServer.last.idOf("watch"));
  void page.client.send({ id: "s1", conversation: "a", content: "Hello" });
  const accepted = { conversation: "a", revision: 1, message: "m1", answer: "m2", options: {} };
  FakeServer.last.says({ type: "accepted", re: "s1", ...accepted });
  if (how.hidden) vi.spyOn(document, "visibilityState", "get").mockReturnValue("hidden");
  else page.open("b");
  if (how.deleted) FakeServer.last.says({ type: "changed", conversation: "a", revision: 2, what: "deleted" });
  FakeServer.last.says({ type: "done", answer: "m2", position: 0, status: "stopped", revision: 2 });
  expect([...page.store.getState().unread]).toEqual(unread);
});

test("opening a message that search found shows it, with the branch that it is on", async () => {
  await openFound("m2");
  expect(page.store.getState().leaves.get("a")).toBe("m2");
});

test("a conversation that is opened at a message of its newest branch goes on with it", async () => {
  await openFound("m1");
  expect(page.store.getState().leaves.has("a")).toBe(false);
  page.send({ content: [] });
  expect(parents()).toEqual([undefined]);
});

test("of messages that are sent to an older branch one follows the other", async () => {
  await openFound("m2");
  page.send({ content: [] });
  page.send({ content: [] });
  expect(parents()).toEqual(["m2", undefined]);
});

test("a conversation that was opened after a final close is watched once the page is connected", async () => {
  await begin("a");
  FakeServer.last.breaks(4409);
  page.open("a");
  await vi.waitFor(() => expect(page.store.getState().loading).toBe(false));
  page.reconnect();
  await vi.waitFor(() =>
    expect(FakeServer.last.asked).toContainEqual({ type: "watch", conversation: "a", answers: [] }),
  );
});

test("a refused message that was to be temporary is still to be so when it is edited", async () => {
  await begin("a");
  page.setTemporary(true);
  page.send({ content: [{ type: "text", text: "Secret" }] });
  const re = await vi.waitFor(() => FakeServer.last.idOf("send"));
  FakeServer.last.says({ type: "error", re, code: "too_large", message: "too large" });
  page.open("a");
  page.open(undefined);
  const [refused] = await vi.waitFor(() => {
    const { outbox } = page.store.getState();
    expect(outbox).toMatchObject([{ error: { code: "too_large" } }]);
    return outbox;
  });
  if (refused) page.messages.takeBack(refused);
  page.send({ content: [{ type: "text", text: page.drafts.get().text }] });
  expect(FakeServer.last.asked.at(-1)).toEqual({
    type: "send",
    content: [{ type: "text", text: "Secret" }],
    temporary: true,
  });
});

test("of an ordinary and a temporary conversation that begin at once the temporary one is opened", async () => {
  gateway = new FakeGateway(conversation("c"), conversation("t", { temporary: true }));
  page = gateway.page();
  stop = page.start();
  await vi.waitFor(() => expect(page.store.getState().chat.link.name).toBe("open"));
  page.send({ content: [] });
  const ordinary = FakeServer.last.idOf("send");
  page.setTemporary(true);
  page.send({ content: [] });
  const temporary = FakeServer.last.idOf("send");
  for (const [re, id] of [
    [ordinary, "c"],
    [temporary, "t"],
  ] as const) {
    const accepted = { conversation: id, revision: 1, message: `m-${id}`, answer: `a-${id}`, options: {} };
    FakeServer.last.says({ type: "accepted", re, ...accepted });
    await vi.waitFor(() => expect(gateway.asked).toContain(`GET conversations/${id}`));
  }
  expect([page.store.getState().open, page.store.getState().outbox]).toEqual(["t", []]);
});

/** Puts `count` messages into the conversation `a`, one after another. */
function fill(count: number): void {
  const id = (at: number) => (at === 0 ? null : `m${at}`);
  gateway.messages.a = Array.from({ length: count }, (_, at) => message(`m${at + 1}`, id(at)));
  gateway.conversations = [conversation("a", { leaf: `m${count}`, revision: count })];
}

/** Opens the conversation `a`, of which a page has two messages, and waits until it is there. */
async function openLong(count: number): Promise<void> {
  await begin("a");
  gateway.pageSize = 2;
  fill(count);
  page.open("a");
  await vi.waitFor(() => expect(page.store.getState().older.get("a")).toBe(`m${count - 1}`));
}

/** The messages of the conversation `a` once all older pages are loaded. */
async function allMessages(): Promise<string[]> {
  while (page.store.getState().older.has("a")) await page.loadOlder("a");
  return [...(page.client.getState().chats.get("a")?.messages.keys() ?? [])].sort();
}

test("a long conversation that was deleted and brought back is whole", async () => {
  await openLong(6);
  await page.loadOlder("a");
  page.store.setState({ leaves: new Map([["a", "m3"]]) });
  const deleted = conversation("a");
  await page.conversations.remove(deleted);
  await page.conversations.restore(deleted);
  expect([page.store.getState().older.size, page.store.getState().leaves.size]).toEqual([0, 0]);
  page.open("a");
  await vi.waitFor(() => expect(page.store.getState().older.get("a")).toBe("m5"));
  expect(await allMessages()).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
});

test("messages that came while nobody watched are not left out, and what is whole stays whole", async () => {
  await openLong(4);
  fill(8);
  page.open("a");
  await vi.waitFor(() => expect(page.store.getState().older.get("a")).toBe("m7"));
  expect(await allMessages()).toEqual(["m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8"]);
  page.open("a");
  page.store.setState({ loading: true });
  await vi.waitFor(() => expect(page.store.getState().loading).toBe(false));
  expect(page.store.getState().older.has("a")).toBe(false);
});

test("a conversation's own system prompt counts from the moment it is changed", async () => {
  const gateway = new FakeGateway(conversation("a"));
  const page = gateway.page();
  page.setPreferences({ options: { system: "Be brief." } });
  await page.conversations.refresh();
  expect(page.optionsFor("a")).toEqual({ system: "Be brief." });
  await page.conversations.change("a", { system: "Be long." });
  expect(page.optionsFor("a")).toEqual({});
});

test("a new conversation is known by its title also when its answer ends while it is fetched", async () => {
  gateway = new FakeGateway(conversation("t", { title: "Secret", temporary: true }));
  page = gateway.page();
  stop = page.start();
  await vi.waitFor(() => expect(page.store.getState().chat.link.name).toBe("open"));
  page.setTemporary(true);
  const release = hold();
  page.send({ content: [{ type: "text", text: "Secret" }] });
  await vi.waitFor(() => FakeServer.last.idOf("send"));
  const accepted = { conversation: "t", revision: 1, message: "m1", answer: "m2", options: {} };
  FakeServer.last.says({ type: "accepted", re: FakeServer.last.idOf("send"), ...accepted });
  await vi.waitFor(() => expect(gateway.asked).toContain("GET conversations/t"));
  FakeServer.last.says({ type: "done", answer: "m2", position: 0, status: "done", revision: 2 });
  gateway.conversations = [conversation("t", { title: "Secret", temporary: true, revision: 2 })];
  release();
  await vi.waitFor(() =>
    expect(page.store.getState().chat.chats.get("t")?.record).toEqual(gateway.conversations[0]),
  );
});
