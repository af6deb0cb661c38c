/** The menu of one conversation. */
import { Braces, FileText, FolderInput, Pencil, Pin, PinOff, Trash2 } from "lucide-react";
import { useWords } from "../app/words";
import type { Conversation } from "../client";
import type { MenuItem } from "../ui/Menu";
import { useConversationActions } from "./useConversationActions";
import { words } from "./words";

interface Asks {
  onRename: () => void;
  onMove: () => void;
}

/** Makes the items of a conversation's menu. */
export function useConversationMenu(): (conversation: Conversation, asks: Asks) => MenuItem[] {
  const text = useWords(words);
  const actions = useConversationActions();
  return (conversation, { onRename, onMove }) => {
    const { pinned, temporary } = conversation;
    const forListed: MenuItem[] = [
      {
        label: pinned ? text.unpin : text.pin,
        icon: pinned ? <PinOff /> : <Pin />,
        onSelect: () => actions.pin(conversation, !pinned),
      },
      { label: text.move, icon: <FolderInput />, onSelect: onMove },
    ];
    return [
      { label: text.rename, icon: <Pencil />, onSelect: onRename },
      ...(temporary ? [] : forListed),
      {
        label: text.exportMarkdown,
        icon: <FileText />,
        begins: true,
        onSelect: () => actions.exportMarkdown(conversation),
      },
      { label: text.exportJson, icon: <Braces />, onSelect: () => actions.exportJson(conversation) },
      {
        label: text.delete,
        icon: <Trash2 />,
        begins: true,
        danger: true,
        onSelect: () => actions.remove(conversation),
      },
    ];
  };
}
