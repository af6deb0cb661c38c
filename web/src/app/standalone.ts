/**
 * What the chat does to the page around it, when the page is its own: the address names the open conversation, the
 * title tells of answers that ended in the background, and the person is notified of them if they want it. A chat inside
 * another app's page does none of this.
 */
import type { AnswerStatus, ChatEvent } from "../client";
import { words } from "./appWords";
import { openConversation } from "./Bar";
import { ChatPage, type ChatPageOptions } from "./page";
import type { PageState } from "./state";
import { chosenLanguage } from "./words";

const PREFIX = "#/c/";
const NAME = "Corral";

/** Makes the page's chat and ties it to the address, the title, and notifications. */
export function standalonePage(options: Pick<ChatPageOptions, "api">): ChatPage {
  const page = new ChatPage({
    ...options,
    onOpen: nameInAddress,
    // Nothing of the one person's is left for the other.
    onOtherUser: () => location.reload(),
  });
  const openNamed = () => {
    const named = location.hash.startsWith(PREFIX) ? location.hash.slice(PREFIX.length) : undefined;
    if (named !== page.store.getState().open) page.open(named);
  };
  openNamed();
  addEventListener("popstate", openNamed);
  page.store.subscribe((state) => {
    const title = titleOf(state);
    if (title !== document.title) document.title = title;
    followTheme(state);
    followLanguage(state);
  });
  followTheme(page.store.getState());
  followLanguage(page.store.getState());
  page.client.subscribe((_state, event) => notifyOfEnd(page, event));
  return page;
}

/** The title of the window. The number counts conversations with an answer that nobody has seen. */
export function titleOf(state: PageState): string {
  const title = openConversation(state)?.title;
  const named = title === undefined ? NAME : `${title} · ${NAME}`;
  return state.unread.size > 0 ? `(${state.unread.size}) ${named}` : named;
}

function nameInAddress(conversation: string | undefined): void {
  const hash = conversation === undefined ? "" : PREFIX + conversation;
  if (hash !== location.hash) history.pushState(null, "", hash || location.pathname + location.search);
}

/** The colours outside the chat: the page's own ground and the phone's bar above it. */
function followTheme({ preferences: { theme } }: PageState): void {
  const { dataset } = document.documentElement;
  if (dataset.theme === theme) return;
  dataset.theme = theme;
  for (const meta of document.querySelectorAll<HTMLMetaElement>('meta[name="theme-color"]')) {
    meta.dataset.media ??= meta.media;
    const isChosen = meta.dataset.media.includes(`: ${theme}`);
    meta.media = theme === "system" ? meta.dataset.media : isChosen ? "all" : "not all";
  }
}

/** What is outside the chat is in its language, too: the title, and what the browser itself says. */
function followLanguage({ preferences }: PageState): void {
  const language = chosenLanguage(preferences);
  if (document.documentElement.lang !== language) document.documentElement.lang = language;
}

/**
 * Tells of an answer that ended while the page was hidden. It names the conversation and never shows the answer's words:
 * a notification may light up on a locked screen.
 */
function notifyOfEnd(page: ChatPage, event: ChatEvent): void {
  const { preferences, list } = page.store.getState();
  const isWanted = preferences.notify && document.visibilityState === "hidden";
  if (event.type !== "done" || event.status === "stopped" || !isWanted || !mayNotify()) return;
  const { answers, chats } = page.client.getState();
  const conversation = answers.get(event.answer)?.conversation;
  if (conversation === undefined) return;
  const listed = list.conversations.find(({ id }) => id === conversation);
  const title = (listed ?? chats.get(conversation)?.record)?.title ?? NAME;
  show(title, bodyOf(event.status, preferences), conversation, () => {
    focus();
    page.open(conversation);
  });
}

function bodyOf(status: AnswerStatus, preferences: PageState["preferences"]): string {
  const text = words[chosenLanguage(preferences)];
  return status === "done" ? text.answerReady : text.answerEnded;
}

function mayNotify(): boolean {
  return "Notification" in globalThis && Notification.permission === "granted";
}

function show(title: string, body: string, tag: string, onClick: () => void): void {
  try {
    const notification = new Notification(title, { body, tag, icon: "./icon-192.png" });
    notification.onclick = () => {
      notification.close();
      onClick();
    };
  } catch {
    // Browsers on phones notify through a service worker only, and this page has none.
  }
}
