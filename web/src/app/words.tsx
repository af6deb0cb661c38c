/**
 * The words of the page in English and Chinese. Each folder keeps its own in a `words.ts`; a missing or extra entry in
 * either language is a type error.
 */
import { createContext, useContext } from "react";

export const LANGUAGES = ["en", "zh-CN"] as const;
export type Language = (typeof LANGUAGES)[number];

export type Words<T> = Readonly<Record<Language, T>>;

/** Pairs the English words with the Chinese ones. */
export function defineWords<T>(en: T, zh: NoInfer<T>): Words<T> {
  return { en, "zh-CN": zh };
}

/** The language for a browser's preferred one. All of Chinese is shown in Simplified Chinese. */
export function languageFor(preferred: string): Language {
  return preferred.toLowerCase().startsWith("zh") ? "zh-CN" : "en";
}

/** The language that a person has chosen, or else the browser's. */
export function chosenLanguage({ language }: { language?: Language }): Language {
  return language ?? languageFor(navigator.language);
}

export const LanguageContext = createContext<Language>("en");

export const useLanguage = (): Language => useContext(LanguageContext);

/** A folder's words in the person's language. */
export function useWords<T>(words: Words<T>): T {
  return words[useLanguage()];
}
