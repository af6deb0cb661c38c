/** Files on their way into a draft. */
import { beforeEach, expect, test, vi } from "vitest";
import { ChatPage } from "../../src/app/page";
import { type Attachment, NEW } from "../../src/app/state";
import { ChatError } from "../../src/client";
import { Attaching } from "../../src/composer/attaching";
import { DraftFiles } from "../../src/composer/files";
import { welcome } from "../client/fakeServer";

const PNG = new Uint8Array([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const api = new URL("http://localhost/api/v1/");
let page: ChatPage;

beforeEach(() => {
  localStorage.clear();
  page = new ChatPage({ api });
  vi.spyOn(page.rest, "countTokens").mockRejectedValue(new ChatError("not_found", "an older gateway"));
  const model = { ...welcome.model, images: true };
  page.store.setState(({ chat }) => ({ chat: { ...chat, welcome: { ...welcome, model } } }));
});

const file = (content: BlobPart, name: string) => new File([content], name);
const files = (fit?: (image: Blob, most: number) => Promise<string | undefined>) =>
  new DraftFiles(page, async (page) => new Attaching(page, fit));
/** The attachments of a draft, without their ids. */
function attached(key = NEW) {
  return page.drafts.get(key).attachments.map(({ id: _id, ...attachment }: Attachment) => attachment);
}

test("files are shown at once and read one after another", async () => {
  const adding = files().add([file("one", "1.txt"), file("", "2.txt")]);
  expect(attached()).toEqual([
    { kind: "reading", name: "1.txt" },
    { kind: "reading", name: "2.txt" },
  ]);
  await adding;
  expect(attached()).toEqual([
    { kind: "text", name: "1.txt", text: "one" },
    { kind: "refused", name: "2.txt", problem: "empty" },
  ]);
});

test("what was written meanwhile stays", async () => {
  const adding = files().add([file("one", "1.txt")]);
  page.drafts.set({ ...page.drafts.get(), text: "What is this?" });
  await adding;
  expect(page.drafts.get().text).toBe("What is this?");
  expect(attached()).toEqual([{ kind: "text", name: "1.txt", text: "one" }]);
});

test("a file goes to the draft it was added to, wherever that has moved", async () => {
  const adding = files().add([file("one", "1.txt")]);
  page.drafts.set(page.drafts.get(NEW), "c1");
  page.drafts.set({ text: "", attachments: [] }, NEW);
  await adding;
  expect(attached("c1")).toEqual([{ kind: "text", name: "1.txt", text: "one" }]);
});

test("a file that is removed while it is read does not come back", async () => {
  const draftFiles = files();
  const adding = draftFiles.add([file("one", "1.txt")]);
  draftFiles.remove(page.drafts.get().attachments[0]?.id ?? "");
  await adding;
  expect(attached()).toEqual([]);
});

test("images share the room of one message", async () => {
  const rooms: number[] = [];
  const fit = async (_image: Blob, most: number) => {
    rooms.push(most);
    return "x".repeat(most);
  };
  const draftFiles = files(fit);
  await draftFiles.add([file(PNG, "1.png")]);
  await draftFiles.add([file(PNG, "2.png")]);
  const [first, second, third] = rooms;
  expect(rooms.length).toBe(3);
  expect(second).toBe(third);
  expect(first).toBeGreaterThan(2 * (second ?? 0));
  const sizes = page.drafts
    .get()
    .attachments.map((image) => (image.kind === "image" ? image.dataUrl.length : 0));
  expect(sizes).toEqual([second, third].map((most) => Math.floor(most ?? 0)));
  expect((second ?? 0) + (third ?? 0)).toBeLessThan(welcome.limits.message_bytes);
});

test("an image that does not fit or cannot be opened is refused with the reason", async () => {
  const fit = vi
    .fn<(image: Blob, most: number) => Promise<string | undefined>>()
    .mockResolvedValueOnce(undefined)
    .mockRejectedValueOnce(new Error("no image"));
  await files(fit).add([file(PNG, "1.png"), file(PNG, "2.png")]);
  expect(attached()).toEqual([
    { kind: "refused", name: "1.png", problem: "image_too_large" },
    { kind: "refused", name: "2.png", problem: "image_broken" },
  ]);
});

test("the model's own count takes the place of the estimate", async () => {
  const countTokens = vi.mocked(page.rest.countTokens).mockResolvedValue(42);
  await files().add([file("one", "1.txt")]);
  await vi.waitFor(() =>
    expect(attached()).toEqual([{ kind: "text", name: "1.txt", text: "one", tokens: 42 }]),
  );
  expect(countTokens).toHaveBeenCalledWith([{ type: "text", text: '<file name="1.txt">\none\n</file>' }]);
});

test("the count of an image that was made smaller meanwhile is not taken", async () => {
  const counts: ((tokens: number) => void)[] = [];
  vi.mocked(page.rest.countTokens).mockImplementation(() => new Promise((resolve) => counts.push(resolve)));
  const draftFiles = files(async (_image, most) => "x".repeat(most));
  await draftFiles.add([file(PNG, "1.png")]);
  await draftFiles.add([file(PNG, "2.png")]);
  for (const [at, count] of counts.entries()) count(at);
  await vi.waitFor(() =>
    expect(page.drafts.get().attachments.map((image) => "tokens" in image && image.tokens)).toEqual([1, 2]),
  );
});

test("a count that fails leaves the estimate", async () => {
  vi.mocked(page.rest.countTokens).mockRejectedValue(new ChatError("rate_limited", "wait"));
  await files().add([file("one", "1.txt")]);
  expect(attached()).toEqual([{ kind: "text", name: "1.txt", text: "one" }]);
});

test("files are refused for now when what reads them cannot be fetched, and the next one tries again", async () => {
  const load = vi
    .fn<(page: ChatPage) => Promise<Attaching>>()
    .mockRejectedValueOnce(new TypeError("offline"))
    .mockImplementation(async (page) => new Attaching(page));
  const draftFiles = new DraftFiles(page, load);
  await draftFiles.add([file("one", "1.txt")]);
  await draftFiles.add([file("two", "2.txt")]);
  expect(attached()).toEqual([
    { kind: "refused", name: "1.txt", problem: "not_loaded" },
    { kind: "text", name: "2.txt", text: "two" },
  ]);
});
