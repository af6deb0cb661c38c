/**
 * The files of drafts: shown at once, and read by what is loaded with the first one, since most visits add none. A
 * message cannot be sent meanwhile, so no file is left behind.
 */
import { randomId } from "../app/outbox";
import type { ChatPage } from "../app/page";
import { type Attachment, NEW } from "../app/state";
import type { Attaching } from "./attaching";

type Load = (page: ChatPage) => Promise<Attaching>;

const loadAttaching: Load = async (page) => new (await import("./attaching")).Attaching(page);

export class DraftFiles {
  readonly #page: ChatPage;
  readonly #load: Load;
  #attaching: Promise<Attaching> | undefined;

  constructor(page: ChatPage, load: Load = loadAttaching) {
    this.#page = page;
    this.#load = load;
  }

  /** Adds files to what is being written. Resolves when all are read, or refused. */
  readonly add = async (files: readonly File[]): Promise<void> => {
    const key = this.#page.store.getState().open ?? NEW;
    const added = files.map((file) => ({ id: randomId(), name: file.name || "image", file }));
    const reading = added.map(({ id, name }): Attachment => ({ id, kind: "reading", name }));
    const draft = this.#page.drafts.get(key);
    this.#page.drafts.set({ ...draft, attachments: [...draft.attachments, ...reading] }, key);
    this.#attaching ??= this.#load(this.#page);
    try {
      const attaching = await this.#attaching;
      await attaching.read(added);
    } catch {
      // The next file tries again.
      this.#attaching = undefined;
      for (const { id, name } of added) {
        putAttachment(this.#page, id, { id, kind: "refused", name, problem: "not_loaded" });
      }
    }
  };

  readonly remove = (id: string): void => {
    putAttachment(this.#page, id, undefined);
    this.#attaching?.then((attaching) => attaching.forget(id)).catch(() => {});
  };
}

/** Replaces an attachment, in whichever draft it is now; without `next`, removes it. */
export function putAttachment(page: ChatPage, id: string, next: Attachment | undefined): void {
  for (const [key, draft] of page.store.getState().drafts) {
    if (!draft.attachments.some((attachment) => attachment.id === id)) continue;
    const attachments = draft.attachments.flatMap((attachment) =>
      attachment.id === id ? (next ?? []) : attachment,
    );
    page.drafts.set({ ...draft, attachments }, key);
  }
}
