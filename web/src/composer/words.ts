import { defineWords } from "../app/words";

export const words = defineWords(
  {
    message: "Message",
    placeholder: "Ask anything",
    keys: "Enter sends, Shift+Enter starts a new line",
    send: "Send",
    stop: "Stop (Esc)",
  },
  {
    message: "消息",
    placeholder: "有什么想问的？",
    keys: "Enter 发送，Shift+Enter 换行",
    send: "发送",
    stop: "停止（Esc）",
  },
);
