/** The languages in which the main stories are told, with something to say in each. */
import type { Language } from "../src/app/words";

export interface Speaker {
  language: Language;
  /** Answered in a moment. */
  short: string;
  /** Answered at length. */
  long: string;
}

export const SPEAKERS: readonly Speaker[] = [
  {
    language: "en",
    short: "Say hello in one short sentence.",
    long: "Write a very long story about a lighthouse keeper, with many chapters.",
  },
  {
    language: "zh-CN",
    short: "用一句话打个招呼。",
    long: "请写一个关于灯塔守护人的很长的故事，分成许多章节。",
  },
];

export const [ENGLISH, CHINESE] = SPEAKERS as [Speaker, Speaker];

/** Settings of an answer that runs until it is stopped. */
export const LONG_ANSWER = { max_tokens: 380, temperature: 0 };
