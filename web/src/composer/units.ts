/** Sizes and counts as people write them in their language. */
import { numberFormat } from "../app/formats";
import type { Language } from "../app/words";

const UNITS = ["byte", "kilobyte", "megabyte"] as const;

/** In steps of 1,000, as in "131 kB". */
export function formatBytes(bytes: number, language: Language): string {
  const step = bytes < 1000 ? 0 : bytes < 1_000_000 ? 1 : 2;
  const value = bytes / 1000 ** step;
  return numberFormat(language, {
    style: "unit",
    unit: UNITS[step] ?? "byte",
    unitDisplay: step === 0 ? "long" : "short",
    maximumFractionDigits: value < 10 && step > 0 ? 1 : 0,
  }).format(value);
}

export function formatCount(count: number, language: Language): string {
  return numberFormat(language).format(count);
}

/** As in "135M" or "1.4亿". */
export function formatCompact(count: number, language: Language): string {
  return numberFormat(language, { notation: "compact" }).format(count);
}

export function formatPercent(share: number, language: Language): string {
  return numberFormat(language, { style: "percent" }).format(share);
}
