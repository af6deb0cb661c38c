/**
 * Reads the files of drafts one after another, fits all images of a message into its frame, and asks the model what each
 * text costs. The drafts show how far it is. Outside React, so that a file goes on being read while another conversation
 * is open.
 */
import type { ChatPage } from "../app/page";
import type { Attachment, Draft } from "../app/state";
import { attachmentPart, draftContent, frameBytes } from "./cost";
import { putAttachment } from "./files";
import { fitImage } from "./image";
import { type FileRead, type Room, readFile } from "./read";

/** Kept free for what the person writes beside images. */
const TEXT_BYTES = 8 * 1024;
/** What JSON puts around an image. */
const PART_BYTES = 64;
/** Progress of a long PDF is shown in so many steps. */
const PROGRESS_STEPS = 20;

/** A file, and the attachment that it becomes. */
export interface NewFile {
  id: string;
  name: string;
  file: File;
}

type Fit = (image: Blob, most: number) => Promise<string | undefined>;

export class Attaching {
  readonly #page: ChatPage;
  readonly #fit: Fit;
  /** The images of all drafts as they were given, by attachment. */
  readonly #images = new Map<string, Blob>();
  readonly #aborts = new Map<string, AbortController>();
  #last: Promise<void> = Promise.resolve();

  constructor(page: ChatPage, fit: Fit = fitImage) {
    this.#page = page;
    this.#fit = fit;
  }

  /** Reads files that a draft shows already, one after another. Never rejects. */
  readonly read = (files: readonly NewFile[]): Promise<void> => {
    for (const file of files) this.#last = this.#last.then(() => this.#read(file));
    return this.#last;
  };

  /** Reads no more of a file that was removed. */
  readonly forget = (id: string): void => {
    this.#aborts.get(id)?.abort();
    this.#images.delete(id);
  };

  async #read({ id, name, file }: NewFile): Promise<void> {
    if (!this.#draftOf(id)) return;
    const abort = new AbortController();
    this.#aborts.set(id, abort);
    let shown = 0;
    const onProgress = (done: number, total: number) => {
      const step = Math.floor((done / total) * PROGRESS_STEPS);
      if (step === shown) return;
      shown = step;
      this.#put(id, { id, kind: "reading", name, done, total });
    };
    try {
      const read = await readFile(file, { room: this.#room(), onProgress, signal: abort.signal });
      await this.#take(id, name, file, read);
    } catch {
      // It was removed meanwhile.
    } finally {
      this.#aborts.delete(id);
    }
  }

  async #take(id: string, name: string, file: Blob, read: FileRead): Promise<void> {
    if (read.kind === "refused") this.#put(id, { id, kind: "refused", name, problem: read.problem });
    if (read.kind === "image") this.#images.set(id, file);
    if (read.kind === "text") {
      this.#put(id, { id, ...read });
      void this.#count(id);
    }
    await this.#fitImages(id);
  }

  /** Gives each image of the draft that holds `id` the same share of the room that is left. */
  async #fitImages(id: string): Promise<void> {
    const draft = this.#draftOf(id);
    if (!draft) return;
    const images = draft.attachments.filter((attachment) => this.#images.has(attachment.id));
    const most = this.#roomForImages(draft) / images.length - PART_BYTES;
    for (const attachment of images) {
      if (attachment.kind === "image" && attachment.dataUrl.length <= most) continue;
      const fitted = await this.#fitted(attachment, most);
      if (fitted.kind === "refused") this.#images.delete(fitted.id);
      this.#put(attachment.id, fitted);
      void this.#count(attachment.id);
    }
  }

  async #fitted({ id, name }: Attachment, most: number): Promise<Attachment> {
    const imageBytes = this.#limits()?.image_bytes ?? most;
    try {
      const dataUrl = await this.#fit(this.#images.get(id) ?? new Blob(), Math.min(most, imageBytes));
      return dataUrl === undefined
        ? { id, kind: "refused", name, problem: "image_too_large" }
        : { id, kind: "image", name, dataUrl };
    } catch {
      return { id, kind: "refused", name, problem: "image_broken" };
    }
  }

  #roomForImages(draft: Draft): number {
    const others = draft.attachments.filter(({ kind }) => kind === "text");
    const content = draftContent({ text: draft.text, attachments: others });
    const most = this.#limits()?.message_bytes ?? 128 * 1024;
    return most - TEXT_BYTES - frameBytes(content, this.#page.optionsFor(this.#page.store.getState().open));
  }

  /** The model's own count. Without one, the estimate stays. */
  async #count(id: string): Promise<void> {
    const attachment = this.#draftOf(id)?.attachments.find((attachment) => attachment.id === id);
    const part = attachment && attachmentPart(attachment);
    if (!part || (attachment.kind !== "text" && attachment.kind !== "image")) return;
    const tokens = await this.#page.rest.countTokens([part]).catch(() => undefined);
    const isSame = this.#draftOf(id)?.attachments.includes(attachment);
    if (tokens !== undefined && isSame) this.#put(id, { ...attachment, tokens });
  }

  #put(id: string, next: Attachment): void {
    putAttachment(this.#page, id, next);
  }

  #draftOf(id: string): Draft | undefined {
    const drafts = [...this.#page.store.getState().drafts.values()];
    return drafts.find(({ attachments }) => attachments.some((attachment) => attachment.id === id));
  }

  #room(): Room {
    const { welcome } = this.#page.store.getState().chat;
    return {
      images: welcome?.model.images ?? true,
      messageBytes: welcome?.limits.message_bytes,
      contextTokens: welcome?.model.context,
    };
  }

  #limits() {
    return this.#page.store.getState().chat.welcome?.limits;
  }
}
