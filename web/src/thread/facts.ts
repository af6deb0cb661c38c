/** The numbers of an ended answer, in the words of the person's language. */
import { duration } from "../app/errorWords";
import { numberFormat, timeFormat } from "../app/formats";
import type { Language } from "../app/words";
import { type Answer, isFinal } from "../client";
import type { ThreadWords } from "./words";

/** A shorter wait would be shown as none. */
const SHOWN_MS = 50;

/** The shortest first. Empty when the model told nothing. */
export function facts(answer: Answer, text: ThreadWords, language: Language): string[] {
  const { usage, timings, status } = answer;
  if (!isFinal(status)) return [];
  const speed = tokensPerSecond(answer);
  return [
    ...(speed === undefined ? [] : [text.speed(number(speed, language))]),
    ...(usage ? [text.tokens(number(usage.completion_tokens, language))] : []),
    ...(timings && timings.first_token_ms >= SHOWN_MS
      ? [text.firstAfter(seconds(timings.first_token_ms, language))]
      : []),
  ];
}

/** The model's own speed, or what the server's clock says of it. */
export function tokensPerSecond({ usage, timings }: Answer): number | undefined {
  if (timings?.tokens_per_second !== undefined) return timings.tokens_per_second;
  const tokens = usage?.completion_tokens ?? 0;
  return timings && timings.writing_ms > 0 && tokens > 1 ? (1000 * tokens) / timings.writing_ms : undefined;
}

/**
 * For how long an ended answer's thoughts took, in milliseconds, when the page has not seen them: their share of the
 * text, which the model writes at an even speed.
 */
export function thoughtShareMs({ reasoning, text, timings }: Answer): number | undefined {
  if (!timings || reasoning === "") return undefined;
  return (timings.writing_ms * reasoning.length) / (reasoning.length + text.length);
}

/** `1.4 s` below ten seconds, then whole units. */
export function seconds(ms: number, language: Language): string {
  if (ms >= 9950) return duration(ms / 1000, language);
  const short = numberFormat(language, { maximumFractionDigits: 1 }).format(ms / 1000);
  return `${short} ${language === "zh-CN" ? "秒" : "s"}`;
}

/** With at most one digit after the point, and that only where it matters. */
export function number(value: number, language: Language): string {
  return numberFormat(language, { maximumFractionDigits: value < 20 ? 1 : 0 }).format(value);
}

/** The time of today's messages, the day and time of others. */
export function clockTime(ms: number, language: Language, now = Date.now()): string {
  const today = new Date(ms).toDateString() === new Date(now).toDateString();
  const style: Intl.DateTimeFormatOptions = today
    ? { timeStyle: "short" }
    : { dateStyle: "medium", timeStyle: "short" };
  return timeFormat(language, style).format(ms);
}
