/** Puts the list of conversations into groups: pinned, one per folder, then by the day of the last change. Pure. */
import { timeFormat } from "../app/formats";
import type { Language } from "../app/words";
import type { Conversation } from "../client";

export type GroupName =
  | { kind: "pinned" | "today" | "yesterday" | "week" }
  | { kind: "folder"; folder: string }
  /** `month` counts from 0. */
  | { kind: "month"; year: number; month: number };

export interface Group {
  /** Unlike that of every other group. */
  key: string;
  name: GroupName;
  conversations: readonly Conversation[];
}

const DAYS_OF_WEEK = 7;

/** The groups in the order in which they are shown. A pinned conversation is in no other group. */
export function groupConversations(conversations: readonly Conversation[], now: Date): Group[] {
  const pinned = conversations.filter((conversation) => conversation.pinned);
  const rest = conversations.filter((conversation) => !conversation.pinned);
  const inFolders = rest.filter(({ folder }) => folder !== undefined);
  const folders = collect(inFolders, ({ folder = "" }) => ({ kind: "folder", folder }));
  folders.sort((a, b) => compareNames(folderOf(a), folderOf(b)));
  const byDate = collect(
    rest.filter(({ folder }) => folder === undefined).sort((a, b) => b.updated_ms - a.updated_ms),
    ({ updated_ms }) => dateName(new Date(updated_ms), now),
  );
  return [...collect(pinned, () => ({ kind: "pinned" })), ...folders, ...byDate];
}

/** The names of all folders in use, in order. */
export function folderNames(conversations: readonly Conversation[]): string[] {
  const names = new Set(conversations.flatMap(({ folder }) => folder ?? []));
  return [...names].sort(compareNames);
}

/** What a month is called: with its year, unless it is this year's. */
export function monthLabel(year: number, month: number, now: Date, language: Language): string {
  const isThisYear = year === now.getFullYear();
  const format = timeFormat(language, {
    // 10月 alone, and 2025年10月: the long form alone would be 十月.
    month: isThisYear && language === "zh-CN" ? "numeric" : "long",
    ...(!isThisYear && { year: "numeric" }),
  });
  return format.format(new Date(year, month, 1));
}

function dateName(date: Date, now: Date): GroupName {
  if (date >= daysBefore(now, 0)) return { kind: "today" };
  if (date >= daysBefore(now, 1)) return { kind: "yesterday" };
  if (date >= daysBefore(now, DAYS_OF_WEEK)) return { kind: "week" };
  return { kind: "month", year: date.getFullYear(), month: date.getMonth() };
}

/** When the day so many days before began, by this browser's clock. */
function daysBefore(now: Date, days: number): Date {
  return new Date(now.getFullYear(), now.getMonth(), now.getDate() - days);
}

function collect(
  conversations: readonly Conversation[],
  nameOf: (conversation: Conversation) => GroupName,
): Group[] {
  const groups = new Map<string, Group & { conversations: Conversation[] }>();
  for (const conversation of conversations) {
    const name = nameOf(conversation);
    const key = Object.values(name).join(" ");
    const group = groups.get(key) ?? { key, name, conversations: [] };
    group.conversations.push(conversation);
    groups.set(key, group);
  }
  return [...groups.values()];
}

function folderOf({ name }: Group): string {
  return name.kind === "folder" ? name.folder : "";
}

function compareNames(a: string, b: string): number {
  return a.localeCompare(b, undefined, { numeric: true });
}
