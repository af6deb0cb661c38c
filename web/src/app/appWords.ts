import { defineWords } from "./words";

export const words = defineWords(
  {
    openSidebar: "Show conversations",
    closeSidebar: "Hide conversations",
    newChat: "New chat",
    settings: "Settings",
    shortcuts: "Keyboard shortcuts",
    more: "More",
    title: "Title",
    rename: (title: string) => `${title}\nPress to rename`,
    skip: "Skip to the message field",
    latest: "Jump to the latest",

    temporary: "Temporary",
    temporaryChat: "Temporary chat",
    temporaryNote: "This chat is not in the list, search does not find it, and it is deleted after a day.",
    beginTemporary: "Temporary chat: not in the list, deleted after a day",
    endTemporary: "Make this an ordinary chat",

    modelStates: { ready: "ready", loading: "loading", unavailable: "not available" },
    modelNotes: {
      ready: "The model is ready.",
      loading: "The model is being loaded. Your message will be answered once it is ready.",
      unavailable: "The page is connected, but the model service is not available. Try again later.",
      unknown: "Not connected",
    },

    connecting: "Connecting…",
    connected: "Connected",
    offline: "Offline",
    reconnectingIn: (seconds: number) => `Reconnecting in ${seconds} s`,
    reconnectNow: "Reconnect now",
    connectionLost: "The connection was lost. The page keeps trying to reconnect.",
    dismiss: "Dismiss",
    notLoaded: "This part of the page could not be loaded. Reload the page.",

    answerReady: "The answer is ready.",
    answerEnded: "The answer has ended.",
  },
  {
    openSidebar: "显示对话列表",
    closeSidebar: "隐藏对话列表",
    newChat: "新对话",
    settings: "设置",
    shortcuts: "键盘快捷键",
    more: "更多",
    title: "标题",
    rename: (title) => `${title}\n点击重命名`,
    skip: "跳到消息输入框",
    latest: "跳到最新消息",

    temporary: "临时",
    temporaryChat: "临时对话",
    temporaryNote: "此对话不会出现在列表和搜索中，一天后自动删除。",
    beginTemporary: "临时对话：不进入列表，一天后删除",
    endTemporary: "改为普通对话",

    modelStates: { ready: "就绪", loading: "加载中", unavailable: "不可用" },
    modelNotes: {
      ready: "模型已就绪。",
      loading: "模型正在加载，就绪后会回答你的消息。",
      unavailable: "页面已连接，但模型服务当前不可用，请稍后再试。",
      unknown: "未连接",
    },

    connecting: "正在连接…",
    connected: "已连接",
    offline: "离线",
    reconnectingIn: (seconds) => `${seconds} 秒后重新连接`,
    reconnectNow: "立即重新连接",
    connectionLost: "连接已断开，页面会继续尝试重新连接。",
    dismiss: "关闭提示",
    notLoaded: "页面的这一部分未能加载，请刷新页面。",

    answerReady: "回答已完成。",
    answerEnded: "回答已结束。",
  },
);
