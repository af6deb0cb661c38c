import { defineWords } from "./words";

export const words = defineWords(
  {
    openSidebar: "Show conversations",
    closeSidebar: "Hide conversations",
    newChat: "New chat",
    settings: "Settings",
    latest: "Jump to the latest",
    connecting: "Connecting…",
    connected: "Connected",
    offline: "Offline",
    reconnectingIn: (seconds: number) => `Reconnecting in ${seconds} s`,
    reconnectNow: "Reconnect now",
    connectionLost: "The connection was lost. The page keeps trying to reconnect.",
    dismiss: "Dismiss",
  },
  {
    openSidebar: "显示对话列表",
    closeSidebar: "隐藏对话列表",
    newChat: "新对话",
    settings: "设置",
    latest: "跳到最新消息",
    connecting: "正在连接…",
    connected: "已连接",
    offline: "离线",
    reconnectingIn: (seconds) => `${seconds} 秒后重新连接`,
    reconnectNow: "立即重新连接",
    connectionLost: "连接已断开，页面会继续尝试重新连接。",
    dismiss: "关闭提示",
  },
);
