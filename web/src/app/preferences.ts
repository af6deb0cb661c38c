/**
 * What a person has set, kept in this browser. Every field has a default, and what cannot be read counts as not set.
 */
import type { AnswerOptions } from "../client";
import type { Language } from "./words";

export type Theme = "system" | "light" | "dark";
export type TextSize = "small" | "medium" | "large";

export interface Preferences {
  theme: Theme;
  textSize: TextSize;
  /** Missing: the browser's. */
  language?: Language;
  /** How new answers are asked for. What is missing is the server's choice. */
  options: AnswerOptions;
  /** Whether to notify when an answer ends while the page is in the background. */
  notify: boolean;
  /** Whether the side bar is open, on screens that have room for it. */
  sidebar: boolean;
  /** Folders whose conversations are not shown in the side bar. */
  closedFolders: readonly string[];
}

const DEFAULTS: Preferences = {
  theme: "system",
  textSize: "medium",
  options: {},
  notify: false,
  sidebar: true,
  closedFolders: [],
};
const KEY = "corral.preferences";

export function loadPreferences(storage: Storage): Preferences {
  return { ...DEFAULTS, ...read<Partial<Preferences>>(storage, KEY) };
}

export function savePreferences(storage: Storage, preferences: Preferences): void {
  write(storage, KEY, preferences);
}

/** Tells of what another tab sets. Without this, the next setting here would undo it. Returns what ends that. */
export function followPreferences(
  storage: Storage,
  onChange: (preferences: Preferences) => void,
): () => void {
  const onStorage = ({ key }: StorageEvent) => {
    // An embedded chat's names begin with something of its own.
    if (key === null || key.endsWith(KEY)) onChange(loadPreferences(storage));
  };
  addEventListener("storage", onStorage);
  return () => removeEventListener("storage", onStorage);
}

/** Reads JSON that `write` has kept. */
export function read<T>(storage: Storage, key: string): T | undefined {
  try {
    return JSON.parse(storage.getItem(key) ?? "null") ?? undefined;
  } catch {
    return undefined;
  }
}

/** Keeps JSON, as far as the browser lets it: a full or forbidden storage costs no more than the memory of it. */
export function write(storage: Storage, key: string, value: unknown): void {
  try {
    if (value === undefined) storage.removeItem(key);
    else storage.setItem(key, JSON.stringify(value));
  } catch {
    // Private windows and full disks.
  }
}
