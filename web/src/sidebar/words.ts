import { defineWords } from "../app/words";

export const words = defineWords(
  {
    conversations: "Conversations",
    newChat: "New chat",
    search: "Search",
    more: "More",
    delete: "Delete",
    nothing: "No conversations yet",
    failed: "The list could not be loaded.",
    shortcuts: "Keyboard shortcuts",
  },
  {
    conversations: "对话",
    newChat: "新对话",
    search: "搜索",
    more: "更多",
    delete: "删除",
    nothing: "还没有对话",
    failed: "无法加载对话列表。",
    shortcuts: "键盘快捷键",
  },
);
