/**
 * Every word the page says, in English and Chinese. A missing or extra entry in either is a type error.
 */
import { createContext, useContext } from "react";

const english = {
  lang: "en",
  newChat: "New chat",
  send: "Send",
  stop: "Stop",
  retry: "Retry",
  latest: "Jump to the latest",
  conversation: "Conversation",
  message: "Message",
  placeholder: "Ask anything",
  keys: "Enter sends, Shift+Enter starts a new line",
  welcome: "What would you like to know?",
  welcomeNote: "The answers come from a language model on this server. It can be wrong; check what matters.",
  you: "You: ",
  model: "Model: ",
  connecting: "Connecting…",
  connected: "Connected",
  offline: "Offline",
  reconnectingIn: (seconds: number) => `Reconnecting in ${seconds} s`,
  reconnectNow: "Reconnect now",
  connectionLost: "The connection was lost. The page keeps trying to reconnect.",
  waitingForConnection: "Will be sent once the connection is back",
  waitingForAnswer: "Will be sent after the current answer",
  thinking: "The model is working on an answer",
  answerDone: "The answer is complete",
  emptyAnswer: "The model had nothing to say.",
  stopped: "Stopped by you. The answer is incomplete.",
  breakStopped: "Stopped: the model starts afresh here",
  breakLost: "Connection lost: the model no longer remembers the messages above",
  incomplete: "This answer is incomplete.",
  unanswered: "No answer.",
  failureLost: "The connection was lost.",
  failureTooLong: "The message is longer than the server accepts.",
};

export type Text = typeof english;

const chinese: Text = {
  lang: "zh-CN",
  newChat: "新对话",
  send: "发送",
  stop: "停止",
  retry: "重试",
  latest: "跳到最新消息",
  conversation: "对话",
  message: "消息",
  placeholder: "有什么想问的？",
  keys: "Enter 发送，Shift+Enter 换行",
  welcome: "想了解些什么？",
  welcomeNote: "回答由这台服务器上的语言模型生成，可能有误，重要内容请自行核实。",
  you: "你：",
  model: "模型：",
  connecting: "正在连接…",
  connected: "已连接",
  offline: "离线",
  reconnectingIn: (seconds) => `${seconds} 秒后重新连接`,
  reconnectNow: "立即重新连接",
  connectionLost: "连接已断开，页面会继续尝试重新连接。",
  waitingForConnection: "连接恢复后发送",
  waitingForAnswer: "当前回答结束后发送",
  thinking: "模型正在回答",
  answerDone: "回答已完成",
  emptyAnswer: "模型没有返回内容。",
  stopped: "你已停止生成，回答不完整。",
  breakStopped: "已停止：模型不再记得上面的内容",
  breakLost: "连接曾断开：模型已不记得上面的消息",
  incomplete: "回答不完整。",
  unanswered: "没有收到回答。",
  failureLost: "连接已断开。",
  failureTooLong: "消息超过了服务器允许的长度。",
};

/** The dictionary for a browser's preferred language. */
export function textFor(language: string): Text {
  return language.toLowerCase().startsWith("zh") ? chinese : english;
}

export const TextContext = createContext<Text>(english);

export const useText = (): Text => useContext(TextContext);
