/**
 * The rules of the numbers that an answer is asked with: their ranges as the server tells them, how typed text becomes a
 * number, and what is said when it does not. What is not valid is never sent.
 */

import type { Language } from "../app/words";
import type { AnswerOptions, OptionLimits, Welcome } from "../client";
import { byteLength } from "../composer/cost";
import { formatBytes } from "../composer/units";
import { words } from "./words";

export type NumberOption = "temperature" | "top_p" | "top_k" | "min_p" | "max_tokens" | "seed";
export const NUMBER_OPTIONS: readonly NumberOption[] = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "max_tokens",
  "seed",
];

/** As `RealRange` and `WholeRange`, with open ends where nothing is told. */
export interface OptionRange {
  min: number;
  max?: number;
  /** What the server takes when nothing is set. Missing: the model's own. */
  default?: number;
  whole: boolean;
}

const WHOLE: ReadonlySet<NumberOption> = new Set(["top_k", "max_tokens", "seed"]);

/** Before the first connection nothing is known; the server brings numbers into its own limits. */
export function limitsOf(welcome: Welcome | undefined): Partial<OptionLimits> {
  return welcome?.options ?? {};
}

/** The range of an option. What the server has not told has no stated end. */
export function rangeOf(option: NumberOption, limits: Partial<OptionLimits>): OptionRange {
  const told = option === "seed" ? undefined : limits[option];
  return { min: option === "max_tokens" ? 1 : 0, ...told, whole: WHOLE.has(option) };
}

export type ParsedNumber = { value: number | undefined } | { error: string };

/** A typed number; `undefined` for an empty field. A comma is a decimal point, as many people write it. */
export function parseNumber(
  typed: string,
  option: NumberOption,
  range: OptionRange,
  language: Language,
): ParsedNumber {
  const plain = typed.trim().replace(",", ".");
  if (plain === "") return { value: undefined };
  const value = Number(plain);
  const isNumber = /^[+-]?(\d+\.?\d*|\.\d+)$/.test(plain) && (!range.whole || Number.isSafeInteger(value));
  const { min, max = Number.POSITIVE_INFINITY } = range;
  if (isNumber && value >= min && value <= max) return { value };
  const text = words[language];
  return { error: text.mustBe(text.options[option].label, describeRange(range, language)) };
}

/** As in "a number from 0 to 2". */
export function describeRange({ min, max, whole }: OptionRange, language: Language): string {
  const { kinds, between, atLeast } = words[language].ranges;
  const kind = whole ? kinds.whole : kinds.any;
  return max === undefined ? atLeast(kind, min) : between(kind, min, max);
}

export type ParsedStops = { value: string[] | undefined } | { error: string };

/** One string per line. A line break inside of one is written as `\n`. */
export function parseStops(typed: string, limits: Partial<OptionLimits>, language: Language): ParsedStops {
  const { stops = 4, stop_bytes = Number.POSITIVE_INFINITY } = limits;
  const value = typed
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => line.replaceAll("\\n", "\n"));
  const text = words[language];
  if (value.length > stops) return { error: text.tooManyStops(stops) };
  if (value.some((stop) => byteLength(stop) > stop_bytes)) return { error: text.stopTooLong(stop_bytes) };
  return { value: value.length === 0 ? undefined : value };
}

/** What is wrong with a system prompt. */
export function systemError(
  system: string,
  { system_bytes = 64 * 1024 }: Partial<OptionLimits>,
  language: Language,
): string | undefined {
  if (byteLength(system) <= system_bytes) return undefined;
  return words[language].systemTooLong(formatBytes(system_bytes, language));
}

export function showStops(stops: readonly string[] | undefined): string {
  return (stops ?? []).map((stop) => stop.replaceAll("\n", "\\n")).join("\n");
}

/** The options with one set, or left to the server when `value` is missing. */
export function withOption<K extends keyof AnswerOptions>(
  options: AnswerOptions,
  name: K,
  value: AnswerOptions[K] | undefined,
): AnswerOptions {
  const { [name]: _before, ...others } = options;
  return value === undefined ? others : { ...others, [name]: value };
}
