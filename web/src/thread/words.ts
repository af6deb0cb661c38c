import { defineWords } from "../app/words";

export const words = defineWords(
  {
    conversation: "Conversation",
    welcome: "What would you like to know?",
    welcomeNote:
      "The answers come from a language model on this server. It can be wrong; check what matters.",
    you: "You: ",
    model: "Model: ",
  },
  {
    conversation: "对话",
    welcome: "想了解些什么？",
    welcomeNote: "回答由这台服务器上的语言模型生成，可能有误，重要内容请自行核实。",
    you: "你：",
    model: "模型：",
  },
);
