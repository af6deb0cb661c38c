/** One conversation in the side bar: its title, what goes on in it, and its menu. */
import { Ellipsis } from "lucide-react";
import { type MouseEvent, memo, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { usePage } from "../app/context";
import { useWords } from "../app/words";
import type { Conversation } from "../client";
import { Menu } from "../ui/Menu";
import { RenameField } from "../ui/RenameField";
import { FolderDialog } from "./FolderDialog";
import { useConversationActions } from "./useConversationActions";
import { useConversationMenu } from "./useConversationMenu";
import { words } from "./words";

interface RowProps {
  conversation: Conversation;
  isOpen: boolean;
  /** Whether an answer in it has not ended. */
  isAnswering: boolean;
  isUnread: boolean;
}

export const Row = memo(function Row({ conversation, isOpen, isAnswering, isUnread }: RowProps) {
  const text = useWords(words);
  const page = usePage();
  const actions = useConversationActions();
  const menuOf = useConversationMenu();
  const [asking, setAsking] = useState<"title" | "folder">();
  const link = useRef<HTMLAnchorElement>(null);
  const { id, title } = conversation;

  const onClick = (event: MouseEvent) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    page.store.setState({ drawer: false });
    page.open(id);
  };
  const rename = (newTitle: string) => {
    flushSync(() => setAsking(undefined));
    link.current?.focus();
    actions.rename(conversation, newTitle);
  };

  if (asking === "title") {
    return (
      <li className="conversation" data-open={isOpen}>
        <RenameField title={title} label={text.title} onEnd={rename} />
      </li>
    );
  }
  return (
    <li className="conversation" data-open={isOpen}>
      <a
        ref={link}
        href={`#/c/${id}`}
        dir="auto"
        title={title}
        aria-current={isOpen ? "page" : undefined}
        onClick={onClick}
        onKeyDown={(event) => event.key === "F2" && setAsking("title")}
      >
        {title}
      </a>
      {isAnswering && <span className="row-mark answering" role="img" aria-label={text.answering} />}
      {isUnread && !isAnswering && <span className="row-mark unread" role="img" aria-label={text.unread} />}
      <Menu
        label={text.more(title)}
        icon={<Ellipsis />}
        items={() =>
          menuOf(conversation, { onRename: () => setAsking("title"), onMove: () => setAsking("folder") })
        }
      />
      {asking === "folder" && (
        <FolderDialog conversation={conversation} onClose={() => setAsking(undefined)} />
      )}
    </li>
  );
});
