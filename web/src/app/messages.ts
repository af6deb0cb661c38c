/**
 * What a person does to single messages: ask again, go on, edit, take back. Everything that the server refuses is said
 * in a notice and changes nothing here.
 */
import type { ContentPart, Message } from "../client";
import { partToFile, writtenText } from "./content";
import { randomId } from "./outbox";
import type { ChatPage } from "./page";
import type { Attachment, Pending } from "./state";

export class Messages {
  readonly #page: ChatPage;

  constructor(page: ChatPage) {
    this.#page = page;
  }

  /** Asks for another answer beside this one, and shows it. */
  readonly regenerate = async (conversation: string, answer: string): Promise<void> => {
    const options = this.#page.optionsFor(conversation);
    const asked = this.#page.client.regenerate(answer, Object.keys(options).length > 0 ? options : undefined);
    if (await this.#try(asked)) this.#page.showNewest(conversation);
  };

  /** Goes on where this answer was cut. */
  readonly continue = async (answer: string): Promise<void> => {
    await this.#try(this.#page.client.continue(answer));
  };

  /** Asks a question of the person's again in other words, beside the old one. */
  readonly rerun = (question: Message, content: ContentPart[]): void =>
    this.#page.send({ content, parent: question.parent });

  /** Other words for a message that still waits. Returns whether it was in time. */
  readonly editQueued = (question: string, content: ContentPart[]): Promise<boolean> =>
    this.#try(this.#page.client.editQueued(question, content));

  readonly dropQueued = async (question: string): Promise<void> => {
    await this.#try(this.#page.client.dropQueued(question));
  };

  /** Puts a message that the server did not take back into the composer, before what is being written there. */
  readonly takeBack = ({ id, conversation, content, temporary }: Pending): void => {
    const { outbox, drafts } = this.#page;
    const { text, attachments } = drafts.get(conversation);
    const texts = [writtenText(content), text].filter((part) => part.trim() !== "");
    drafts.set(
      { text: texts.join("\n\n"), attachments: [...attachmentsOf(content), ...attachments] },
      conversation,
    );
    if (temporary) this.#page.setTemporary(true);
    outbox.discard(id);
  };

  /** Returns whether it was done; the notice says why not. */
  #try(asked: Promise<unknown>): Promise<boolean> {
    this.#page.attempt(asked);
    return asked.then(
      () => true,
      () => false,
    );
  }
}

/** The files and images of a message, as the composer holds them. */
function attachmentsOf(content: readonly ContentPart[]): Attachment[] {
  return content.flatMap((part): Attachment[] => {
    const file = partToFile(part);
    if (file) return [{ id: randomId(), kind: "text", ...file }];
    if (part.type === "image") return [{ id: randomId(), kind: "image", name: "", dataUrl: part.data_url }];
    return [];
  });
}
