/** What can be done to a whole conversation, with the words that tell of it. Shared by the side bar and the bar. */
import { useMemo } from "react";
import { usePage } from "../app/context";
import type { ChatPage } from "../app/page";
import { useWords } from "../app/words";
import type { Conversation } from "../client";
import { download, fileName } from "./files";
import { words } from "./words";

/** The server keeps a deleted conversation for a minute. */
const UNDO_MS = 20_000;

export interface ConversationActions {
  rename: (conversation: Conversation, title: string) => void;
  pin: (conversation: Conversation, pinned: boolean) => void;
  /** Without a folder: out of the one it is in. */
  move: (conversation: Conversation, folder: string | undefined) => void;
  exportMarkdown: (conversation: Conversation) => void;
  exportJson: (conversation: Conversation) => void;
  remove: (conversation: Conversation) => void;
}

export function useConversationActions(): ConversationActions {
  const text = useWords(words);
  const page = usePage();
  return useMemo(() => conversationActions(page, text), [page, text]);
}

function conversationActions(page: ChatPage, text: (typeof words)["en"]): ConversationActions {
  const { conversations, rest, attempt } = page;
  return {
    rename: ({ id, title: old }, title) => {
      if (title !== old) attempt(conversations.change(id, { title }));
    },
    pin: ({ id }, pinned) => attempt(conversations.change(id, { pinned })),
    move: ({ id, folder: old }, folder) => {
      if (folder !== old) attempt(conversations.change(id, { folder: folder ?? null }));
    },
    exportMarkdown: ({ id, title }) =>
      attempt(
        rest
          .exportMarkdown(id)
          .then((markdown) => download(fileName(title, "md"), "text/markdown", markdown)),
      ),
    exportJson: ({ id, title }) =>
      attempt(
        rest.export(id).then((exported) => {
          const json = JSON.stringify(exported, null, 2);
          download(fileName(title, "json"), "application/json", json);
        }),
      ),
    remove: (conversation) => {
      const open = page.store.getState().open === conversation.id;
      const removed = conversations.remove(conversation);
      const undo = () => attempt(removed.then(() => conversations.restore(conversation, { open })));
      const notice = page.notices.show(
        text.deleted(conversation.title),
        { label: text.undo, run: undo },
        UNDO_MS,
      );
      removed.catch(() => page.notices.dismiss(notice));
      attempt(removed);
    },
  };
}
