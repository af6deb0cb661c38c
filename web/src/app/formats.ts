/**
 * Numbers and times as people write them in their language. A formatter is made once and kept: the first one of all takes
 * the browser longer than a frame.
 */
import { later } from "../markdown/slices";
import type { Language } from "./words";

const numbers = new Map<string, Intl.NumberFormat>();
const times = new Map<string, Intl.DateTimeFormat>();

export function numberFormat(language: Language, options: Intl.NumberFormatOptions = {}): Intl.NumberFormat {
  return kept(numbers, language, options, () => new Intl.NumberFormat(language, options));
}

export function timeFormat(language: Language, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  return kept(times, language, options, () => new Intl.DateTimeFormat(language, options));
}

/** Makes the first formatter of a time while the page has nothing else to do. */
export function prepareTimes(language: Language): () => void {
  return later(() => timeFormat(language, { timeStyle: "short" }).format());
}

function kept<Format>(
  formats: Map<string, Format>,
  language: Language,
  options: object,
  make: () => Format,
): Format {
  const key = `${language} ${JSON.stringify(options)}`;
  const format = formats.get(key) ?? make();
  formats.set(key, format);
  return format;
}
