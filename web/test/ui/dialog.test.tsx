/** Where the focus is once a dialog is gone. */
import { act, cleanup, fireEvent, screen } from "@testing-library/react";
import { StrictMode, useState } from "react";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Panel } from "../../src/app/Panel";
import { dispatchShortcut } from "../../src/app/shortcuts";
import { FolderDialog } from "../../src/sidebar/FolderDialog";
import { conversation, FakeGateway } from "../app/fakeGateway";
import { show } from "../app/show";

/** happy-dom's dialogs leave the focus alone: these take it and give it back as a browser's do, and tell of it later. */
beforeEach(() => {
  const before = new Map<HTMLDialogElement, Element | null>();
  const { focus } = HTMLElement.prototype;
  vi.spyOn(HTMLElement.prototype, "focus").mockImplementation(function (this: HTMLElement) {
    // What is in a closed dialog cannot have the focus.
    if (!this.closest("dialog:not([open])")) focus.call(this);
  });
  vi.spyOn(HTMLDialogElement.prototype, "showModal").mockImplementation(function (this: HTMLDialogElement) {
    before.set(this, document.activeElement);
    this.setAttribute("open", "");
    this.querySelector<HTMLElement>("input, button")?.focus();
  });
  vi.spyOn(HTMLDialogElement.prototype, "close").mockImplementation(function (this: HTMLDialogElement) {
    if (!this.open) return;
    this.removeAttribute("open");
    if (this.isConnected) (before.get(this) as HTMLElement | null | undefined)?.focus();
    queueMicrotask(() => this.dispatchEvent(new Event("close")));
  });
});

afterEach(cleanup);

const page = () => new FakeGateway(conversation("a")).page();

function Folders() {
  const [isOpen, setOpen] = useState(false);
  return (
    <>
      <button type="button" onClick={() => setOpen(true)}>
        Open
      </button>
      {isOpen && <FolderDialog conversation={conversation("a")} onClose={() => setOpen(false)} />}
    </>
  );
}

/** Opens the folders' dialog by a button that has the focus. */
function openFolders(): HTMLElement {
  const button = screen.getByRole("button", { name: "Open" });
  button.focus();
  fireEvent.click(button);
  expect(document.activeElement).not.toBe(button);
  return button;
}

test("a dialog that is closed by its own button gives the focus back", () => {
  show(page(), <Folders />);
  const button = openFolders();
  fireEvent.click(screen.getByRole("button", { name: "Cancel" }));
  expect([screen.queryByRole("dialog"), document.activeElement]).toEqual([null, button]);
});

test("a dialog stays open in React's strict mode, and can be closed", async () => {
  show(
    page(),
    <StrictMode>
      <Folders />
    </StrictMode>,
  );
  const button = openFolders();
  await act(async () => {});
  expect(screen.getByRole<HTMLDialogElement>("dialog").open).toBe(true);
  await act(async () => fireEvent.click(screen.getByRole("button", { name: "Close" })));
  expect([screen.queryByRole("dialog"), document.activeElement]).toEqual([null, button]);
});

test("search that is closed by its shortcut gives the focus back", () => {
  const shown = page();
  show(
    shown,
    <>
      <button type="button">Before</button>
      <Panel />
    </>,
  );
  const button = screen.getByRole("button", { name: "Before" });
  button.focus();
  const press = () =>
    act(() => dispatchShortcut(shown, new KeyboardEvent("keydown", { key: "k", ctrlKey: true })));
  press();
  expect(document.activeElement).toBe(screen.getByRole("combobox"));
  press();
  expect([screen.queryByRole("combobox"), document.activeElement]).toEqual([null, button]);
});
