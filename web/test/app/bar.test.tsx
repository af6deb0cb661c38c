/** The bar over the thread as a person uses it. */
import { act, cleanup, fireEvent, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Bar } from "../../src/app/Bar";
import type { ChatPage } from "../../src/app/page";
import type { Language } from "../../src/app/words";
import type { Link, ModelState } from "../../src/client";
import { FakeServer, welcome } from "../client/fakeServer";
import { conversation, FakeGateway } from "./fakeGateway";
import { show } from "./show";

let gateway: FakeGateway;
let page: ChatPage;

beforeEach(async () => {
  gateway = new FakeGateway(
    conversation("a", { title: "Cheese" }),
    conversation("t", { title: "Secret", temporary: true }),
  );
  page = gateway.page();
  await page.conversations.refresh();
});

afterEach(cleanup);

function setModel(state: ModelState, link: Link = { name: "open" }): void {
  const model = { ...welcome.model, state };
  act(() => page.store.setState(({ chat }) => ({ chat: { ...chat, link, welcome: { ...welcome, model } } })));
}

/** The model's line as it is read, and what its tooltip says. */
function modelLine(): [string | null | undefined, string | null | undefined] {
  const line = screen.getByText("qwen3").parentElement;
  return [line?.textContent, line?.getAttribute("title")];
}

test.each<[Language, ModelState, string, string]>([
  ["en", "ready", "qwen3ready", "The model is ready."],
  [
    "en",
    "unavailable",
    "qwen3not available",
    "The page is connected, but the model service is not available. Try again later.",
  ],
  ["zh-CN", "loading", "qwen3加载中", "模型正在加载，就绪后会回答你的消息。"],
  ["zh-CN", "unavailable", "qwen3不可用", "页面已连接，但模型服务当前不可用，请稍后再试。"],
])("in %s the bar says that the model is %s", (language, state, line, note) => {
  show(page, <Bar />, language);
  setModel(state);
  expect(modelLine()).toEqual([line, note]);
});

test("without a connection the bar says nothing of the model's state, and when it tries again", () => {
  show(page, <Bar />);
  setModel("ready", { name: "waiting", code: 1006, retryAt: Date.now() + 3000, reason: "" } as Link);
  expect(modelLine()).toEqual(["qwen3", "Not connected"]);
  expect(screen.getByRole("button", { name: /Reconnecting in \d s/ })).toBeTruthy();
});

test("the button of a closed connection sends again what the close has kept", async () => {
  const sends = () => FakeServer.last.sent.filter(({ type }) => type === "send");
  FakeServer.last.breaks(4409);
  page.send({ content: [{ type: "text", text: "Hello" }] });
  await waitFor(() => expect(page.store.getState().outbox).toMatchObject([{ error: { code: "closed" } }]));
  show(page, <Bar />);
  setModel("ready", page.client.getState().link);
  fireEvent.click(screen.getByRole("button", { name: "Offline" }));
  await waitFor(() => expect(sends()).toMatchObject([{ content: [{ text: "Hello" }] }]));
});

test("over a conversation that does not exist stands the page's name, and no dots for ever", async () => {
  show(page, <Bar />);
  act(() => page.open("missing"));
  expect(screen.getByRole("heading").textContent).toBe("…");
  await waitFor(() => expect(screen.getByRole("heading").textContent).toBe("Corral"));
});

test("the title is renamed where it is", async () => {
  show(page, <Bar />);
  act(() => page.store.setState({ open: "a" }));
  fireEvent.click(screen.getByRole("button", { name: "Cheese" }));
  const field = screen.getByRole("textbox", { name: "Title" });
  fireEvent.change(field, { target: { value: "Brie" } });
  fireEvent.blur(field);
  expect(screen.getByRole("heading").textContent).toBe("Brie");
  await waitFor(() => expect(gateway.bodies).toEqual([{ title: "Brie" }]));
});

test("another conversation that is opened meanwhile keeps its title and its folder", async () => {
  gateway.conversations.push(conversation("b", { title: "Bread" }));
  await page.conversations.refresh();
  show(page, <Bar />);
  const open = (id: string) => act(() => page.store.setState({ open: id }));
  open("a");
  fireEvent.click(screen.getByRole("button", { name: "Cheese" }));
  open("b");
  const field = screen.queryByRole("textbox", { name: "Title" });
  if (field) fireEvent.blur(field);
  expect([screen.getByRole("heading").textContent, gateway.bodies]).toEqual(["Bread", []]);
  open("a");
  expect(screen.getByRole("heading").textContent).toBe("Cheese");

  fireEvent.click(screen.getByRole("button", { name: "More" }));
  fireEvent.click(screen.getByRole("menuitem", { name: "Move to folder" }));
  expect(screen.queryByRole("dialog")).not.toBeNull();
  open("b");
  expect(screen.queryByRole("dialog")).toBeNull();
});

test("a new chat can be made a temporary one, and an ordinary one again", () => {
  show(page, <Bar />);
  fireEvent.click(screen.getByRole("button", { name: /^Temporary chat: not in the list/ }));
  expect([page.store.getState().temporary, screen.getByRole("heading").textContent]).toEqual([
    true,
    "Temporary chat",
  ]);
  fireEvent.click(screen.getByRole("button", { name: "Make this an ordinary chat" }));
  expect([page.store.getState().temporary, screen.getByRole("heading").textContent]).toEqual([
    false,
    "Corral",
  ]);
});

test("a temporary conversation says so, and can be in no folder", () => {
  show(page, <Bar />);
  act(() => page.store.setState({ open: "t" }));
  expect(screen.getByTitle(/deleted after a day/).textContent).toBe("Temporary");
  fireEvent.click(screen.getByRole("button", { name: "More" }));
  const items = screen.getAllByRole("menuitem").map(({ textContent }) => textContent);
  expect(items).toEqual([
    "Rename",
    "Export as Markdown",
    "Export as JSON",
    "Delete",
    "Settings",
    "Keyboard shortcuts",
  ]);
});

test("arrow keys move in a menu in a circle", () => {
  show(page, <Bar />);
  fireEvent.click(screen.getByRole("button", { name: "More" }));
  const focused = () => document.activeElement?.textContent;
  const press = (key: string) => fireEvent.keyDown(document.activeElement ?? document.body, { key });
  expect(focused()).toBe("Settings");
  press("ArrowDown");
  expect(focused()).toBe("Keyboard shortcuts");
  press("ArrowDown");
  expect(focused()).toBe("Settings");
  press("End");
  expect(focused()).toBe("Keyboard shortcuts");
  fireEvent.click(screen.getByRole("menuitem", { name: "Settings" }));
  expect(page.store.getState().panel).toBe("settings");
});
