/** The bar over the thread: what is open, which model answers and how it is, and what can be done to the conversation. */
import { Ellipsis, Ghost, Keyboard, PanelLeft, Settings, SquarePen } from "lucide-react";
import { useState } from "react";
import type { Conversation } from "../client";
import { FolderDialog } from "../sidebar/FolderDialog";
import { useConversationActions } from "../sidebar/useConversationActions";
import { useConversationMenu } from "../sidebar/useConversationMenu";
import { IconButton } from "../ui/IconButton";
import { Menu, type MenuItem } from "../ui/Menu";
import { RenameField } from "../ui/RenameField";
import { words } from "./appWords";
import { usePage, usePageState } from "./context";
import { LinkPill } from "./LinkPill";
import { isSidebarOpen, toggleSidebar } from "./layout";
import { ModelLine } from "./ModelLine";
import type { PageState } from "./state";
import { useWords } from "./words";

export function Bar() {
  const text = useWords(words);
  const page = usePage();
  const isOpen = usePageState(isSidebarOpen);
  const conversation = usePageState(openConversation);
  const menuOf = useConversationMenu();
  const [asking, setAsking] = useState<{ conversation: string; what: "title" | "folder" }>();
  // What was asked of one conversation is no question to the next one.
  if (asking && asking.conversation !== conversation?.id) setAsking(undefined);
  const ask = (what: "title" | "folder") =>
    setAsking(conversation && { conversation: conversation.id, what });

  const items = (): MenuItem[] => [
    ...(conversation
      ? menuOf(conversation, { onRename: () => ask("title"), onMove: () => ask("folder") })
      : []),
    {
      label: text.settings,
      icon: <Settings />,
      begins: conversation !== undefined,
      onSelect: () => page.showPanel("settings"),
    },
    { label: text.shortcuts, icon: <Keyboard />, onSelect: () => page.showPanel("shortcuts") },
  ];

  return (
    <header className="bar">
      <IconButton
        label={isOpen ? text.closeSidebar : text.openSidebar}
        aria-expanded={isOpen}
        onClick={() => toggleSidebar(page)}
      >
        <PanelLeft />
      </IconButton>
      <div className="bar-title">
        <Title
          conversation={conversation}
          isRenaming={asking?.what === "title"}
          onRename={() => ask("title")}
          onEnd={() => setAsking(undefined)}
        />
        <ModelLine />
      </div>
      <LinkPill />
      <TemporaryButton conversation={conversation} />
      <IconButton label={text.newChat} className="bar-new" onClick={() => page.open(undefined)}>
        <SquarePen />
      </IconButton>
      <Menu label={text.more} icon={<Ellipsis />} items={items} />
      {asking?.what === "folder" && conversation && (
        <FolderDialog conversation={conversation} onClose={() => setAsking(undefined)} />
      )}
    </header>
  );
}

interface TitleProps {
  conversation: Conversation | undefined;
  isRenaming: boolean;
  onRename: () => void;
  onEnd: () => void;
}

function Title({ conversation, isRenaming, onRename, onEnd }: TitleProps) {
  const text = useWords(words);
  const { name } = usePage();
  const { rename } = useConversationActions();
  const isLoading = usePageState(({ open, loadError }) => open !== undefined && loadError === undefined);
  const temporary = usePageState((state) => state.temporary);
  if (!conversation) {
    const shown = temporary ? text.temporaryChat : name;
    return <h1 className="bar-name">{isLoading ? "…" : shown}</h1>;
  }
  const { title } = conversation;
  if (isRenaming) {
    const end = (newTitle: string) => {
      onEnd();
      rename(conversation, newTitle);
    };
    return <RenameField title={title} label={text.title} onEnd={end} />;
  }
  return (
    <h1 className="bar-name">
      <button type="button" dir="auto" title={text.rename(title)} onClick={onRename}>
        {title}
      </button>
    </h1>
  );
}

/** Makes the next conversation a temporary one; of one that is temporary, says so. */
function TemporaryButton({ conversation }: { conversation: Conversation | undefined }) {
  const text = useWords(words);
  const page = usePage();
  const isNew = usePageState(({ open }) => open === undefined);
  const temporary = usePageState((state) => state.temporary);
  if (conversation?.temporary) {
    return (
      <span className="bar-temporary" title={text.temporaryNote}>
        <Ghost aria-hidden="true" />
        <span>{text.temporary}</span>
      </span>
    );
  }
  if (!isNew) return null;
  return (
    <IconButton
      label={temporary ? text.endTemporary : text.beginTemporary}
      aria-pressed={temporary}
      className="bar-ghost"
      onClick={() => page.setTemporary(!temporary)}
    >
      <Ghost />
    </IconButton>
  );
}

/** The open conversation: as the list shows it, which knows of changes first, or as it was fetched. */
export function openConversation({ open, list, chat }: PageState): Conversation | undefined {
  if (open === undefined) return undefined;
  return list.conversations.find(({ id }) => id === open) ?? chat.chats.get(open)?.record;
}
