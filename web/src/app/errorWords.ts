/**
 * Every error in the person's language: what happened, and what to do. Keyed by the codes of the protocol, so a code
 * without words is a type error. A code of a later server counts as `internal`.
 */
import type { ChatErrorCode } from "../client";
import { defineWords, type Language } from "./words";

export interface ErrorWords {
  /** What happened, as one sentence. */
  says: string;
  /** What the person can do, as one sentence. */
  todo: string;
}

/** What is known of an error: a `ChatError`, or the `error` of an answer that failed. */
export interface KnownError {
  code: string;
  retryAfterSeconds?: number | undefined;
}

const words = defineWords<Record<ChatErrorCode, ErrorWords>>(
  {
    bad_request: {
      says: "The server did not understand this request.",
      todo: "Reload the page, then try again.",
    },
    unknown_type: {
      says: "The server does not know this kind of request.",
      todo: "Reload the page: it may be older than the server.",
    },
    unsupported_version: {
      says: "This page and the server have different versions.",
      todo: "Reload the page.",
    },
    too_large: { says: "This message is too large.", todo: "Shorten it, or attach fewer or smaller files." },
    unauthenticated: { says: "You are not signed in.", todo: "Sign in, then try again." },
    not_found: {
      says: "This does not exist, or it is not yours.",
      todo: "It may have been deleted in another tab.",
    },
    conflict: {
      says: "It is too late for this change.",
      todo: "The answer has already begun, or it is complete.",
    },
    busy: {
      says: "An answer is still being written in this conversation.",
      todo: "Wait until it ends, or stop it first.",
    },
    rate_limited: {
      says: "You have sent more messages than the server allows in a minute.",
      todo: "Wait a moment, then try again.",
    },
    quota_exceeded: { says: "Your allowance for today is used up.", todo: "Try again tomorrow." },
    queue_full: {
      says: "Too many messages are already waiting here.",
      todo: "Wait for an answer, or remove a waiting message.",
    },
    queue_timeout: { says: "The model was busy for too long.", todo: "Try again in a moment." },
    model_loading: { says: "The model is still loading.", todo: "Try again in a minute." },
    upstream_unavailable: {
      says: "The model cannot be reached.",
      todo: "Try again in a moment. If that does not help, tell whoever runs this server.",
    },
    upstream_timeout: { says: "The model took too long to answer.", todo: "Try again." },
    upstream_error: { says: "The model failed.", todo: "Try again." },
    context_too_long: {
      says: "This message is longer than the model can read.",
      todo: "Shorten it, or split it into parts.",
    },
    unsupported_content: {
      says: "The model cannot read this kind of content.",
      todo: "Remove the image or file, then send the message again.",
    },
    storage_unavailable: {
      says: "The server cannot save anything right now.",
      todo: "Try again in a moment.",
    },
    shutting_down: { says: "The server is restarting.", todo: "Try again in a moment." },
    internal: { says: "Something went wrong on the server.", todo: "Try again." },
    closed: { says: "There is no connection to the server.", todo: "Reconnect, then try again." },
    expired: {
      says: "This message was sent more than a day ago. It is unknown whether it arrived.",
      todo: "Look into the conversation before you send it again.",
    },
    unreachable: {
      says: "The server cannot be reached.",
      todo: "Check your connection, then try again.",
    },
  },
  {
    bad_request: { says: "服务器无法理解这个请求。", todo: "请刷新页面后重试。" },
    unknown_type: { says: "服务器不认识这类请求。", todo: "请刷新页面，当前页面可能比服务器旧。" },
    unsupported_version: { says: "页面与服务器的版本不一致。", todo: "请刷新页面。" },
    too_large: { says: "这条消息太大了。", todo: "请缩短内容，或减少、缩小附件。" },
    unauthenticated: { says: "你尚未登录。", todo: "请登录后重试。" },
    not_found: { says: "内容不存在，或不属于你。", todo: "它可能已在其他标签页中被删除。" },
    conflict: { says: "现在已经无法更改了。", todo: "回答已经开始，或者已经完成。" },
    busy: { says: "这个对话中还有回答正在生成。", todo: "请等它结束，或先将其停止。" },
    rate_limited: { says: "你在一分钟内发送的消息过多。", todo: "请稍等片刻再试。" },
    quota_exceeded: { says: "你今天的额度已用完。", todo: "请明天再试。" },
    queue_full: { says: "等待中的消息太多了。", todo: "请等待回答，或移除一条等待中的消息。" },
    queue_timeout: { says: "模型一直繁忙，等待超时。", todo: "请稍后再试。" },
    model_loading: { says: "模型仍在加载。", todo: "请过一分钟再试。" },
    upstream_unavailable: {
      says: "暂时无法连接到模型。",
      todo: "请稍后再试。如果一直如此，请联系服务器管理员。",
    },
    upstream_timeout: { says: "模型响应超时。", todo: "请重试。" },
    upstream_error: { says: "模型出错了。", todo: "请重试。" },
    context_too_long: { says: "这条消息超出了模型能读取的长度。", todo: "请缩短内容，或分几次发送。" },
    unsupported_content: { says: "模型无法读取这类内容。", todo: "请移除图片或文件后重新发送。" },
    storage_unavailable: { says: "服务器暂时无法保存内容。", todo: "请稍后再试。" },
    shutting_down: { says: "服务器正在重启。", todo: "请稍后再试。" },
    internal: { says: "服务器出错了。", todo: "请重试。" },
    closed: { says: "未连接到服务器。", todo: "请重新连接后再试。" },
    expired: {
      says: "这条消息发出已超过一天，无法确认是否送达。",
      todo: "请先查看对话，再决定是否重新发送。",
    },
    unreachable: { says: "无法连接到服务器。", todo: "请检查网络连接后重试。" },
  },
);

const retryIn = defineWords(
  (time: string) => `Try again in ${time}.`,
  (time: string) => `请在 ${time}后重试。`,
);

/** What happened, and what to do about it. A known time to wait is told. */
export function errorWords({ code, retryAfterSeconds }: KnownError, language: Language): ErrorWords {
  const known: Readonly<Record<string, ErrorWords>> = words[language];
  const found = known[code] ?? words[language].internal;
  if (retryAfterSeconds === undefined) return found;
  return { ...found, todo: retryIn[language](duration(retryAfterSeconds, language)) };
}

/** The same as one text. */
export function describeError(error: KnownError, language: Language): string {
  const { says, todo } = errorWords(error, language);
  return language === "zh-CN" ? says + todo : `${says} ${todo}`;
}

/** A time in one unit, rounded up: `45 s`, `2 min`, `3 h`. */
export function duration(seconds: number, language: Language): string {
  const [second, minute, hour] = language === "zh-CN" ? ["秒", "分钟", "小时"] : ["s", "min", "h"];
  const whole = Math.max(1, Math.ceil(seconds));
  if (whole < 100) return `${whole} ${second}`;
  if (whole < 5400) return `${Math.ceil(whole / 60)} ${minute}`;
  return `${Math.ceil(whole / 3600)} ${hour}`;
}
