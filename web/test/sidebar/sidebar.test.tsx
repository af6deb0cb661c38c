/** The side bar as a person uses it. */
import { act, cleanup, fireEvent, screen, waitFor, within } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { Notices } from "../../src/app/Notices";
import type { ChatPage } from "../../src/app/page";
import { Sidebar } from "../../src/sidebar/Sidebar";
import { conversation, FakeGateway } from "../app/fakeGateway";
import { show } from "../app/show";
import { FakeServer, welcome } from "../client/fakeServer";

let gateway: FakeGateway;
let page: ChatPage;
let stop = () => {};

afterEach(() => {
  stop();
  cleanup();
});

async function begin(...conversations: ReturnType<typeof conversation>[]): Promise<void> {
  gateway = new FakeGateway(...conversations);
  page = gateway.page();
  stop = page.start();
  show(
    page,
    <>
      <Sidebar />
      <Notices />
    </>,
  );
  await waitFor(() => expect(page.store.getState().list.state).toBe("ready"));
}

/** The groups' names with the titles in them. */
function groups(): [string, string[]][] {
  return screen.getAllByRole("region").map((group) => {
    const links = within(group).queryAllByRole("link");
    return [
      within(group).getByRole("heading").textContent ?? "",
      links.map(({ textContent }) => textContent),
    ];
  });
}

function row(title: string): HTMLElement {
  const row = screen.getByRole("link", { name: title }).closest("li");
  if (!row) throw new Error(`${title} is in no row`);
  return row;
}

/** Chooses from the menu of a conversation. */
function choose(title: string, item: string): void {
  fireEvent.click(within(row(title)).getByRole("button", { name: `More about “${title}”` }));
  fireEvent.click(within(row(title)).getByRole("menuitem", { name: item }));
}

test("conversations are in groups, and a folder can be closed for good", async () => {
  await begin(
    conversation("a", { title: "Apple", pinned: true }),
    conversation("b", { title: "Bread", folder: "Food" }),
    conversation("c", { title: "Cheese" }),
  );
  const all = [
    ["Pinned", ["Apple"]],
    ["Food1", ["Bread"]],
    ["Today", ["Cheese"]],
  ];
  expect(groups()).toEqual(all);
  fireEvent.click(screen.getByRole("button", { name: /Food/ }));
  expect(groups()[1]).toEqual(["Food1", []]);
  expect(page.store.getState().preferences.closedFolders).toEqual(["Food"]);
  fireEvent.click(screen.getByRole("button", { name: /Food/ }));
  expect(groups()).toEqual(all);
});

test("a click opens a conversation, and a click for another tab is left to the browser", async () => {
  await begin(conversation("a"));
  const link = screen.getByRole("link", { name: "Title a" });
  expect(fireEvent.click(link, { ctrlKey: true })).toBe(true);
  expect(page.store.getState().open).toBeUndefined();
  expect(fireEvent.click(link)).toBe(false);
  expect(page.store.getState().open).toBe("a");
  expect(link.getAttribute("aria-current")).toBe("page");
});

test("a title is changed in its row: Enter keeps it, and Escape keeps the old one", async () => {
  await begin(conversation("a"));
  choose("Title a", "Rename");
  const field = () => screen.getByRole("textbox", { name: "Title" });
  fireEvent.change(field(), { target: { value: "Other" } });
  fireEvent.keyDown(field(), { key: "Escape" });
  expect(gateway.bodies).toEqual([]);
  fireEvent.keyDown(screen.getByRole("link", { name: "Title a" }), { key: "F2" });
  fireEvent.change(field(), { target: { value: " Cheese " } });
  fireEvent.keyDown(field(), { key: "Enter", isComposing: true });
  fireEvent.keyDown(field(), { key: "Enter" });
  await waitFor(() => expect(gateway.bodies).toEqual([{ title: "Cheese" }]));
  expect(document.activeElement).toBe(screen.getByRole("link", { name: "Cheese" }));
});

test("a conversation is pinned, and unpinned", async () => {
  await begin(conversation("a"));
  choose("Title a", "Pin");
  expect(groups()).toEqual([["Pinned", ["Title a"]]]);
  await waitFor(() => expect(gateway.conversations[0]?.pinned).toBe(true));
  choose("Title a", "Unpin");
  await waitFor(() => expect(gateway.bodies).toEqual([{ pinned: true }, { pinned: false }]));
});

test("a conversation is moved to a folder that is there, to a new one, and out of it", async () => {
  await begin(conversation("a"), conversation("b", { folder: "Work" }));
  const move = (option: string) => {
    choose("Title a", "Move to folder");
    fireEvent.click(screen.getByRole("radio", { name: option }));
  };
  move("Work");
  fireEvent.click(screen.getByRole("button", { name: "Move" }));
  move("New folder");
  expect(screen.getByRole<HTMLButtonElement>("button", { name: "Move" }).disabled).toBe(true);
  fireEvent.change(screen.getByRole("textbox"), { target: { value: " Home " } });
  fireEvent.click(screen.getByRole("button", { name: "Move" }));
  move("No folder");
  fireEvent.click(screen.getByRole("button", { name: "Move" }));
  await waitFor(() =>
    expect(gateway.bodies).toEqual([{ folder: "Work" }, { folder: "Home" }, { folder: null }]),
  );
});

test("a deleted conversation is gone at once, and Undo brings it back", async () => {
  await begin(conversation("a"), conversation("b"));
  act(() => page.open("a"));
  choose("Title a", "Delete");
  expect(groups()).toEqual([["Today", ["Title b"]]]);
  expect(page.store.getState().open).toBeUndefined();
  fireEvent.click(screen.getByRole("button", { name: "Undo" }));
  await waitFor(() => expect(page.store.getState().open).toBe("a"));
  await waitFor(() => expect(screen.getByRole("link", { name: "Title a" })).toBeTruthy());
});

test("a conversation that could not be deleted is back, with the reason and nothing to undo", async () => {
  await begin(conversation("a"));
  gateway.failsWith = "storage_unavailable";
  choose("Title a", "Delete");
  await waitFor(() => expect(screen.getByRole("link", { name: "Title a" })).toBeTruthy());
  expect(screen.queryByRole("button", { name: "Undo" })).toBeNull();
  expect(page.store.getState().notices).toHaveLength(1);
});

test("an export is a file that is called like the conversation", async () => {
  await begin(conversation("a", { title: "a/b" }));
  const files: string[] = [];
  vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(function (this: HTMLAnchorElement) {
    files.push(this.download);
  });
  vi.stubGlobal("URL", Object.assign(URL, { createObjectURL: () => "blob:1", revokeObjectURL: () => {} }));
  choose("a/b", "Export as JSON");
  choose("a/b", "Export as Markdown");
  await waitFor(() => expect(files.sort()).toEqual(["a b.json", "a b.md"]));
});

test("a new answer is marked, and so is one that is being written", async () => {
  await begin(conversation("a"), conversation("b"));
  act(() => page.store.setState({ unread: new Set(["a"]) }));
  expect(within(row("Title a")).getByRole("img").getAttribute("aria-label")).toBe("New answer");
  const asked = page.client.send({ id: "s1", conversation: "b", content: "Hello" });
  const accepted = { conversation: "b", revision: 1, message: "m1", answer: "m2", options: {} };
  FakeServer.last.says({ type: "accepted", re: "s1", ...accepted });
  await asked;
  const mark = await within(row("Title b")).findByRole("img");
  expect(mark.getAttribute("aria-label")).toBe("Answering");
});

test("the foot names who is signed in", async () => {
  await begin();
  act(() => page.store.setState(({ chat }) => ({ chat: { ...chat, welcome } })));
  expect(screen.getByRole("button", { name: "Settings" }).textContent).toBe("Settings");
  const user = { id: "u1", name: "Alice" };
  act(() => page.store.setState(({ chat }) => ({ chat: { ...chat, welcome: { ...welcome, user } } })));
  expect(screen.getByRole("contentinfo").textContent).toBe("AAlice");
});

test("an empty list and a list that failed say so", async () => {
  await begin();
  expect(screen.getByText("No conversations yet")).toBeTruthy();
  act(() => page.store.setState({ list: { conversations: [], state: "failed" } }));
  gateway.conversations = [conversation("a")];
  fireEvent.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("link", { name: "Title a" })).toBeTruthy();
});

test("more of the list comes for as long as its end is near, and a page that failed when it is asked for", async () => {
  const ids = Array.from({ length: 120 }, (_, at) => `c${at}`);
  vi.stubGlobal("IntersectionObserver", AlwaysSeen);
  await begin(...ids.map((id, at) => conversation(id, { updated_ms: 1000 - at })));
  gateway.failsWith = "storage_unavailable";
  const again = await screen.findByRole("button", { name: "Try again" });
  expect(again.parentElement?.textContent).toBe("More could not be loaded. Try again");
  gateway.failsWith = undefined;
  fireEvent.click(again);
  const rows = () => document.querySelectorAll(".conversation");
  await waitFor(() => expect(rows()).toHaveLength(120), { timeout: 8000 });
  expect(screen.queryByText("Loading more")).toBeNull();
}, 20_000);

class AlwaysSeen {
  readonly #callback: (entries: { isIntersecting: boolean }[]) => void;
  constructor(callback: (entries: { isIntersecting: boolean }[]) => void) {
    this.#callback = callback;
  }
  observe(): void {
    queueMicrotask(() => this.#callback([{ isIntersecting: true }]));
  }
  unobserve(): void {}
  disconnect(): void {}
}

test("in a narrow chat it is a drawer: it takes the focus, Escape gives it back, and a choice closes it", async () => {
  await begin(conversation("a"));
  const before = document.createElement("button");
  document.body.append(before);
  before.focus();
  act(() => page.store.setState({ narrow: true }));
  const bar = screen.getByRole("navigation", { hidden: true });
  expect(bar.hasAttribute("inert")).toBe(true);
  act(() => page.store.setState({ drawer: true }));
  expect(document.activeElement?.textContent).toContain("New chat");
  fireEvent.keyDown(document.activeElement ?? bar, { key: "Escape" });
  expect([page.store.getState().drawer, document.activeElement]).toEqual([false, before]);
  act(() => page.store.setState({ drawer: true }));
  fireEvent.click(screen.getByRole("link", { name: "Title a" }));
  expect(page.store.getState()).toMatchObject({ drawer: false, open: "a" });
  before.remove();
});

/** Chooses these files to be imported. */
function importFiles(...files: File[]): void {
  const input = document.createElement("input");
  const create = document.createElement.bind(document);
  vi.spyOn(document, "createElement").mockImplementation((name: string) =>
    name === "input" ? input : create(name),
  );
  fireEvent.click(screen.getByRole("button", { name: "More about the list" }));
  fireEvent.click(screen.getByRole("menuitem", { name: "Import a chat" }));
  Object.defineProperty(input, "files", { value: files });
  input.dispatchEvent(new Event("change"));
}

test("all conversations of an export come back, and none of them is opened", async () => {
  await begin();
  importFiles(new File(['[{"corral_export":1},{"corral_export":1}]'], "conversations.json"));
  const says = () => page.store.getState().notices.map(({ text }) => text);
  await waitFor(() => expect(says()).toEqual(["2 chats were imported."]));
  expect(page.store.getState().open).toBeUndefined();
});

test("a file is imported and opened, and one that is no export is named", async () => {
  await begin();
  importFiles(new File(['{"corral_export":1}'], "chat.json"), new File(["hello"], "notes.txt"));
  await waitFor(() => expect(page.store.getState().open).toBe("imported"));
  await waitFor(() =>
    expect(
      page.store
        .getState()
        .notices.map(({ text }) => text)
        .sort(),
    ).toEqual(["The chat was imported.", "“notes.txt” is not a chat that was exported as JSON."]),
  );
});
