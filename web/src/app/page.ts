/**
 * One chat on a page: joins the client, the HTTP API and what is kept in this browser to the state that the components
 * show. Knows no React. A page may hold several.
 */
import { createStore, type StoreApi } from "zustand/vanilla";
import {
  type Answer,
  type AnswerOptions,
  branch,
  ChatClient,
  ChatError,
  type ChatEvent,
  ChatRest,
  isStale,
  type Link,
  type Message,
  openAnswers,
} from "../client";
import { socketUrl } from "./address";
import { AnswerClock } from "./clock";
import { Conversations } from "./conversations";
import { Drafts } from "./drafts";
import { describeError } from "./errorWords";
import { untilTried } from "./firstVisit";
import { Messages } from "./messages";
import { NoticeBoard } from "./notices";
import { isOnItsWay, type NewPending, Outbox } from "./outbox";
import { OwnedStorage } from "./owned";
import { followPreferences, loadPreferences, type Preferences, savePreferences } from "./preferences";
import { emptyDraft, initialState, NEW, type PageState, type Panel, type Pending, withEntry } from "./state";
import { type Language, languageFor } from "./words";

/** The frame that explains a change may be the next one. */
const RELOAD_AFTER_MS = 150;
/** A hidden page paints nothing, but its title must still change. */
const HIDDEN_FRAME_MS = 250;

export interface ChatPageOptions {
  /** The HTTP API's base, from `apiBase`. */
  api: URL;
  /** The app's own token for the person who is signed in. Missing: the browser's cookie says who it is. */
  token?: () => Promise<string>;
  /** The name that a new chat shows. Missing: `Corral`. */
  name?: string;
  /** Whether the chat is a part of an app's page. It then takes no focus and no shortcut before the person is in it. */
  isEmbedded?: boolean;
  /** Told when another conversation is opened, so that the address can name it. */
  onOpen?: (conversation: string | undefined) => void;
  /** Told when another person is signed in than this chat belongs to. It has ended; a new one is to take its place. */
  onOtherUser?: () => void;
  storage?: Storage;
}

export class ChatPage {
  readonly client: ChatClient;
  readonly rest: ChatRest;
  readonly store: StoreApi<PageState>;
  readonly outbox: Outbox;
  readonly conversations: Conversations;
  readonly messages: Messages;
  readonly drafts: Drafts;
  readonly notices: NoticeBoard;
  readonly clock = new AnswerClock();
  readonly name: string;
  readonly isEmbedded: boolean;
  readonly #storage: Storage;
  readonly #owned: OwnedStorage;
  readonly #onOpen: (conversation: string | undefined) => void;
  readonly #onOtherUser: () => void;
  readonly #reloads = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #loadingOlder = new Map<string, Promise<void>>();
  #painting = false;
  #wasWelcome = false;

  constructor({
    api,
    token,
    name = "Corral",
    isEmbedded = false,
    onOpen = () => {},
    onOtherUser = () => {},
    storage = localStorage,
  }: ChatPageOptions) {
    this.name = name;
    this.isEmbedded = isEmbedded;
    this.#storage = storage;
    this.#owned = new OwnedStorage(storage);
    this.#onOpen = onOpen;
    this.#onOtherUser = onOtherUser;
    this.rest = new ChatRest({
      base: api,
      headers: token
        ? async () => ({ authorization: `Bearer ${await token()}` })
        : () => known.then(() => ({})),
    });
    this.client = new ChatClient({
      url: socketUrl(api),
      ...(token && { ticket: () => this.rest.ticket() }),
    });
    const known = untilTried(this.client);
    this.store = createStore<PageState>(() => initialState(loadPreferences(storage)));
    this.drafts = new Drafts(this.store, this.#owned);
    this.notices = new NoticeBoard(this.store);
    this.outbox = new Outbox(this.client, this.store, this.#owned, (pending, { conversation }) =>
      this.#afterTaken(pending, conversation),
    );
    this.conversations = new Conversations(this);
    this.messages = new Messages(this);
  }

  /** Connects and loads. Returns what ends it. */
  readonly start = (): (() => void) => {
    this.drafts.restore();
    const unsubscribe = this.client.subscribe((_state, event) => {
      this.clock.follow(event);
      this.#follow(event);
    });
    this.client.connect();
    if (this.store.getState().outbox.length === 0) this.outbox.restore();
    this.outbox.retryClosed();
    const leaveList = this.conversations.start();
    const leavePreferences = followPreferences(this.#storage, (preferences) => this.#set({ preferences }));
    return () => {
      unsubscribe();
      leaveList();
      leavePreferences();
      this.client.close();
      for (const timer of this.#reloads.values()) clearTimeout(timer);
      this.#reloads.clear();
    };
  };

  // What is open.

  /** Opens a conversation, or a new one. With `message`: shows its branch and scrolls to it. */
  readonly open = (conversation?: string, message?: string): void => {
    this.#show(conversation);
    this.#unset("loadError");
    if (conversation === undefined) return;
    this.#set({ loading: !this.store.getState().chat.chats.get(conversation)?.record });
    const loaded = this.#load(conversation);
    if (message !== undefined) this.attempt(loaded.then(() => this.#focusOn(conversation, message)));
  };

  /** Fetches the page of messages before those that are loaded. Asked again meanwhile, it is the same page. */
  readonly loadOlder = (conversation: string): Promise<void> => {
    const before = this.store.getState().older.get(conversation);
    const asked = this.#loadingOlder.get(conversation);
    if (asked || before === undefined) return asked ?? Promise.resolve();
    const loading = this.rest
      .loadInto(this.client, conversation, before)
      .then((next) => this.#set({ older: withEntry(this.store.getState().older, conversation, next) }))
      .finally(() => this.#loadingOlder.delete(conversation));
    this.#loadingOlder.set(conversation, loading);
    return loading;
  };

  /** Shows the branch through this message, down to its newest answer. The newest branch stays the newest one. */
  readonly showBranch = (conversation: string, message: string): void => {
    const chat = this.store.getState().chat.chats.get(conversation);
    if (!chat) return;
    const leaf = newestBelow([...chat.messages.values()], message);
    const shown = leaf === chat.leaf ? undefined : leaf;
    this.#set({ leaves: withEntry(this.store.getState().leaves, conversation, shown) });
  };

  /** Shows the branch of the newest message. */
  readonly showNewest = (conversation: string): void =>
    this.#set({ leaves: withEntry(this.store.getState().leaves, conversation, undefined) });

  // What the person does.

  /** Sends a message to the open conversation, after the last message that is shown. */
  readonly send = (message: Pick<NewPending, "content" | "parent">): void => {
    const { open, temporary } = this.store.getState();
    this.outbox.add({
      ...message,
      options: this.optionsFor(open),
      ...(open === undefined
        ? { temporary }
        : {
            conversation: open,
            parent: message.parent === undefined ? this.#shownEnd(open) : message.parent,
          }),
    } as NewPending);
  };

  /** Stops the answer of the open conversation that runs. The next one that waits then begins. */
  readonly stop = (): void => {
    const { open, chat } = this.store.getState();
    if (open === undefined) return;
    const running = openAnswers(chat, open).find((answer) => answer.status === "running");
    if (running) this.attempt(this.client.stop(running.id));
  };

  /** Begins to edit a message of the person's; without one, ends it. */
  readonly edit = (message?: string): void => {
    if (message === undefined) this.#unset("editing");
    else this.#set({ editing: message });
  };

  /** Begins to edit the person's last message that is shown. Returns whether there is one. */
  readonly editLast = (): boolean => {
    const { open, chat, leaves } = this.store.getState();
    const known = open === undefined ? undefined : chat.chats.get(open);
    const shown = known && open !== undefined ? branch(known, leaves.get(open)) : [];
    const last = shown.findLast(({ role }) => role === "user");
    if (last) this.edit(last.id);
    return last !== undefined;
  };

  /** How an answer is asked for. A conversation's own system prompt goes before the person's general one. */
  readonly optionsFor = (conversation?: string): AnswerOptions => {
    const { chat, list, preferences } = this.store.getState();
    // The list knows of a change at once; the record is fetched again a moment later.
    const listed = list.conversations.find(({ id }) => id === conversation);
    const own = (listed ?? chat.chats.get(conversation ?? "")?.record)?.system;
    const { system, ...options } = preferences.options;
    return own === undefined && system !== undefined ? { ...options, system } : options;
  };

  readonly setTemporary = (temporary: boolean): void => this.#set({ temporary });

  readonly setPreferences = (change: Partial<Preferences>): void => {
    const preferences = { ...this.store.getState().preferences, ...change };
    this.#set({ preferences });
    savePreferences(this.#storage, preferences);
  };

  /** From now on the page speaks the browser's language. */
  readonly unsetLanguage = (): void => {
    const { language: _language, ...preferences } = this.store.getState().preferences;
    this.#set({ preferences });
    savePreferences(this.#storage, preferences);
  };

  readonly showPanel = (panel: Panel | undefined): void => {
    if (panel) this.#set({ panel });
    else this.#unset("panel");
  };

  /** Says to screen readers what others see. */
  readonly say = (text: string): void => this.#set({ said: { text } });

  /** Waits for something that the person asked for, and says why it was not done. */
  readonly attempt = (
    asked: Promise<unknown>,
    describe: (error: ChatError) => string = (error) => describeError(error, this.language()),
  ): void => {
    asked.catch((reason: unknown) => {
      if (!(reason instanceof ChatError)) throw reason;
      this.notices.show(describe(reason));
    });
  };

  /** Tries at once what failed: the connection, the list and the open conversation. */
  readonly reconnect = (): void => {
    this.client.connect();
    this.client.reconnectNow();
    this.outbox.retryClosed();
    void this.conversations.refresh();
    this.#openAgain();
  };

  /** The person's language, as set or as the browser says. */
  readonly language = (): Language =>
    this.store.getState().preferences.language ?? languageFor(navigator.language);

  // What comes from the server.

  #follow(event: ChatEvent): void {
    this.#paintSoon();
    if (event.type === "welcome" && !this.#isStillHere(event.user.id)) return;
    if (event.type === "welcome") {
      this.outbox.sendRestored();
      this.#set({ signedOut: false });
      this.#openAgain();
    }
    if (event.type === "link") this.#findWhy(event.link);
    if (event.type === "changed" || event.type === "done" || event.type === "accepted")
      this.#afterChange(event);
  }

  /**
   * Whether this chat goes on with the person who is signed in now. Asked before anything is sent. A visit that begins as
   * somebody else begins with what that person has written; one that becomes somebody else's ends.
   */
  #isStillHere(user: string): boolean {
    const isFirst = !this.#wasWelcome;
    this.#wasWelcome = true;
    if (this.#owned.isOf(user)) return true;
    if (isFirst) {
      this.outbox.leaveRestored();
      this.#owned.handTo(user);
      this.drafts.restore();
      this.outbox.restore();
      return true;
    }
    // What is rejected now is written to the outbox a moment later.
    this.#owned.leaveTo(user);
    this.client.close();
    this.#onOtherUser();
    return false;
  }

  /** The server has taken a message: what it made is shown in the place of what was waiting. */
  #afterTaken(pending: Pending, conversation: string): void {
    // It must not be gone from the outbox before it is in the conversation.
    this.#paint();
    if (pending.conversation !== undefined) {
      this.showNewest(conversation);
      return;
    }
    const { open, outbox } = this.store.getState();
    // The list leads to an ordinary conversation later, and nothing to a temporary one.
    const isTemporaryNext = outbox.some(
      (next) => next.conversation === undefined && next.temporary && !next.error,
    );
    if (open === undefined && (pending.temporary || !isTemporaryNext)) {
      // What was written meanwhile goes along.
      this.drafts.set(this.drafts.get(NEW), conversation);
      this.drafts.set(emptyDraft, NEW);
      this.#show(conversation);
    }
    void this.#load(conversation);
  }

  #afterChange(event: ChatEvent): void {
    const { open } = this.store.getState();
    const { chats, answers } = this.client.getState();
    for (const chat of chats.values()) {
      if (chat.deleted && chat.id === open) this.#show(undefined);
      if (chat.deleted) this.conversations.markSeen(chat.id);
      if (!chat.deleted && isStale(chat) && chat.record) this.#reloadSoon(chat.id);
    }
    if (event.type === "done") {
      const conversation = answers.get(event.answer)?.conversation;
      if (conversation === undefined) return;
      const isOpen = conversation === open;
      const chat = chats.get(conversation);
      // Nothing leads to the others, so nobody would ever see it.
      const isToBeSeen = !chat?.deleted && (isOpen || !chat?.record?.temporary);
      const isSeen = isOpen && document.visibilityState === "visible";
      const { unread } = this.store.getState();
      if (isToBeSeen && !isSeen) this.#set({ unread: new Set(unread).add(conversation) });
    }
  }

  /** A browser hides why a socket was refused, so HTTP is asked whether anybody is signed in. */
  #findWhy(link: Link): void {
    if (link.name === "closed" && (link.code === 4401 || link.code === 4410)) this.#set({ signedOut: true });
    if (link.name !== "waiting" || link.code !== 1006) return;
    this.rest.me().catch((reason: unknown) => {
      if (reason instanceof ChatError && reason.code === "unauthenticated") this.#set({ signedOut: true });
    });
  }

  #paintSoon(): void {
    if (this.#painting) return;
    this.#painting = true;
    if (document.visibilityState === "hidden") setTimeout(() => this.#paint(), HIDDEN_FRAME_MS);
    else requestAnimationFrame(() => this.#paint());
  }

  #paint(): void {
    this.#painting = false;
    this.#set({ chat: this.client.getState() });
  }

  #reloadSoon(conversation: string): void {
    if (this.#reloads.has(conversation)) return;
    const timer = setTimeout(() => {
      this.#reloads.delete(conversation);
      const chat = this.client.getState().chats.get(conversation);
      if (chat && isStale(chat)) void this.#load(conversation);
    }, RELOAD_AFTER_MS);
    this.#reloads.set(conversation, timer);
  }

  async #load(conversation: string): Promise<void> {
    const known = this.client.getState().chats.get(conversation)?.messages;
    try {
      let next = await this.rest.loadInto(this.client, conversation);
      // An answer that ended on the way has made it old, and the client does not take that. Of a new conversation it then
      // knows neither the title nor whether it is a temporary one.
      if (!this.client.getState().chats.get(conversation)?.record) {
        next = await this.rest.loadInto(this.client, conversation);
      }
      // `next` is the page's oldest message. If it is new, so may be others before it.
      const joins = next !== undefined && known?.has(next);
      if (!joins) this.#set({ older: withEntry(this.store.getState().older, conversation, next) });
      this.#paint();
      if (this.store.getState().open === conversation) this.#set({ loading: false });
    } catch (reason) {
      const loadError = reason instanceof ChatError ? reason : new ChatError("internal", String(reason));
      if (loadError.code === "unauthenticated") this.#set({ signedOut: true });
      if (this.store.getState().open === conversation) this.#set({ loading: false, loadError });
      return;
    }
    // Waits for a connection. Why there is none, the link says.
    this.client.watch(conversation).catch(() => {});
  }

  /** Loads pages until the message is there. The person may have gone elsewhere meanwhile. */
  async #focusOn(conversation: string, message: string): Promise<void> {
    const isHere = () => this.client.getState().chats.get(conversation)?.messages.has(message) === true;
    while (!isHere() && this.store.getState().older.has(conversation)) await this.loadOlder(conversation);
    if (!isHere() || this.store.getState().open !== conversation) return;
    this.#set({ chat: this.client.getState() });
    this.showBranch(conversation, message);
    this.#set({ focusMessage: message });
  }

  /** Tries to fetch the open conversation again, if that has failed. */
  #openAgain(): void {
    const { open, loadError } = this.store.getState();
    if (open !== undefined && loadError && loadError.code !== "not_found") this.open(open);
  }

  #show(conversation: string | undefined): void {
    if (conversation === this.store.getState().open) return;
    this.#unset("loadError");
    this.#unset("editing");
    if (conversation === undefined) {
      this.#unset("open");
      this.#set({ loading: false, temporary: false });
    } else {
      const unread = new Set(this.store.getState().unread);
      unread.delete(conversation);
      this.#set({ open: conversation, unread });
    }
    this.#onOpen(conversation);
  }

  /** The last message that is shown: what a new message follows. Missing: the newest, also after one on its way. */
  #shownEnd(conversation: string): string | undefined {
    const { chat, leaves, outbox } = this.store.getState();
    if (outbox.some((pending) => pending.conversation === conversation && isOnItsWay(pending))) return;
    const leaf = leaves.get(conversation);
    const known = chat.chats.get(conversation);
    return leaf !== undefined && known ? branch(known, leaf).at(-1)?.id : undefined;
  }

  #set(change: Partial<PageState>): void {
    this.store.setState(change);
  }

  #unset(field: "open" | "panel" | "loadError" | "editing"): void {
    const { [field]: _gone, ...rest } = this.store.getState();
    this.store.setState(rest as PageState, true);
  }
}

/** Follows the newest child from `message` to the end of its branch. */
function newestBelow(messages: readonly Message[], message: string): string {
  const newestOf = new Map<string, string>();
  for (const { id, parent } of messages) {
    if (parent !== null && id > (newestOf.get(parent) ?? "")) newestOf.set(parent, id);
  }
  let end = message;
  for (let next = newestOf.get(end); next !== undefined; next = newestOf.get(end)) end = next;
  return end;
}

/** The first answer of the open conversation that has not ended. */
export function runningAnswer({ open, chat }: PageState): Answer | undefined {
  return open === undefined ? undefined : openAnswers(chat, open)[0];
}
