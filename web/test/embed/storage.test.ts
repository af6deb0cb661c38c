/** Promises about what an embedded chat leaves in the browser. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { NamedStorage, type StorageOwner, storageFor } from "../../src/embed/storage";

const alice: StorageOwner = { server: "https://gateway/api/v1/", user: "alice", signsIn: true, id: "" };

beforeEach(() => localStorage.clear());
afterEach(() => localStorage.clear());

test("what one chat keeps is there again for the same person at the same server", () => {
  storageFor(alice).setItem("draft", "words");
  expect(storageFor(alice).getItem("draft")).toBe("words");
});

test("another person, server or element does not read it", () => {
  storageFor(alice).setItem("draft", "words");
  const others = [{ user: "bob" }, { server: "https://other/api/v1/" }, { id: "second" }];
  expect(others.map((other) => storageFor({ ...alice, ...other }).getItem("draft"))).toEqual([
    null,
    null,
    null,
  ]);
});

test("of somebody whom the app does not name nothing is left behind", () => {
  const storage = storageFor({ ...alice, user: null });
  storage.setItem("draft", "words");
  expect(storage.getItem("draft")).toBe("words");
  expect(localStorage.length).toBe(0);
});

test("a browser that forbids storage costs no more than the memory of it", () => {
  const forbidden = vi.spyOn(globalThis, "localStorage", "get").mockImplementation(() => {
    throw new DOMException("forbidden", "SecurityError");
  });
  const storage = storageFor(alice);
  storage.setItem("draft", "words");
  forbidden.mockRestore();
  expect(storage.getItem("draft")).toBe("words");
});

test("clearing takes away what is the chat's own and nothing else", () => {
  localStorage.setItem("app", "kept");
  const storage = new NamedStorage(localStorage, "chat:");
  storage.setItem("a", "1");
  storage.setItem("b", "2");
  expect([storage.length, storage.key(0), storage.key(2)]).toEqual([2, "a", null]);
  storage.clear();
  expect([storage.length, localStorage.getItem("app")]).toEqual([0, "kept"]);
});
