import { defineWords } from "../app/words";

export const words = defineWords(
  {
    message: "Message",
    placeholder: "Ask anything",
    keys: "Enter sends, Shift+Enter starts a new line",
    queues: "Your next message waits for this answer",
    offline: "Messages are sent once the connection is back",
    send: "Send",
    queue: "Send after this answer",
    stop: "Stop (Esc)",
    add: "Add files or images",
    addFiles: "Add files",
    addImage: "Add images",
    takePhoto: "Take a photo",
    attachments: "Attachments",
    remove: (name: string) => `Remove ${name}`,
    reading: "Reading…",
    readingPages: (done: number, total: number) => `Reading page ${done} of ${total}…`,
    tokens: (count: string) => `${count} tokens`,
    previewCut: "Only the beginning is shown here. The model gets the whole file.",
    drop: "Drop files to add them to your message",
    tooLarge: (size: string, most: string) =>
      `This message has ${size}; the server takes at most ${most}. Shorten it or remove a file.`,
    tooManyTokens: (count: string, context: string) =>
      `This message has ${count} tokens; the model reads at most ${context}. Shorten it or remove a file.`,
    aboutTooManyTokens: (count: string, context: string) =>
      `This message has about ${count} tokens; the model reads at most ${context}. It may be refused.`,
    noImages: "This model does not read images. Remove them to send the message.",
    contextUse: (share: string, used: string, size: string) =>
      `${share} of the context is in use: ${used} of ${size} tokens`,
  },
  {
    message: "消息",
    placeholder: "有什么想问的？",
    keys: "Enter 发送，Shift+Enter 换行",
    queues: "下一条消息会在本次回答结束后处理",
    offline: "连接恢复后会自动发送消息",
    send: "发送",
    queue: "排队发送",
    stop: "停止（Esc）",
    add: "添加文件或图片",
    addFiles: "添加文件",
    addImage: "添加图片",
    takePhoto: "拍照",
    attachments: "附件",
    remove: (name) => `移除 ${name}`,
    reading: "正在读取…",
    readingPages: (done, total) => `正在读取第 ${done}/${total} 页…`,
    tokens: (count) => `${count} 个 token`,
    previewCut: "这里只显示开头部分，模型会收到完整文件。",
    drop: "松开鼠标，把文件添加到消息中",
    tooLarge: (size, most) => `这条消息有 ${size}，服务器最多接受 ${most}。请缩短内容或移除文件。`,
    tooManyTokens: (count, context) =>
      `这条消息有 ${count} 个 token，模型最多能读 ${context} 个。请缩短内容或移除文件。`,
    aboutTooManyTokens: (count, context) =>
      `这条消息约有 ${count} 个 token，模型最多能读 ${context} 个，可能会被拒绝。`,
    noImages: "当前模型不能识别图片，移除图片后才能发送。",
    contextUse: (share, used, size) => `已使用 ${share} 的上下文：${used} / ${size} 个 token`,
  },
);
