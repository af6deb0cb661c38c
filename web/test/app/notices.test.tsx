/** Short messages over the page: how long they stay. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Notices } from "../../src/app/Notices";
import type { ChatPage } from "../../src/app/page";
import { FakeGateway } from "./fakeGateway";
import { show } from "./show";

let page: ChatPage;

beforeEach(() => {
  vi.useFakeTimers();
  page = new FakeGateway().page();
  show(page, <Notices />);
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

const shown = () => page.store.getState().notices.map(({ text }) => text);
const later = (ms: number) => act(() => void vi.advanceTimersByTime(ms));

test("a notice goes by itself, but not while the person is at it", () => {
  act(() => void page.notices.show("Saved"));
  const button = screen.getByRole("button", { name: "Dismiss" });
  fireEvent.focus(button);
  later(60_000);
  expect(shown()).toEqual(["Saved"]);
  fireEvent.blur(button);
  later(7000);
  expect(shown()).toEqual(["Saved"]);
  later(1000);
  expect(shown()).toEqual([]);
});

test("the same words are there once, however often they are said", () => {
  act(() => {
    page.notices.show("Half full");
    page.notices.show("Deleted", { label: "Undo", run: () => {} });
    page.notices.show("Half full");
  });
  expect(shown()).toEqual(["Deleted", "Half full"]);
});
