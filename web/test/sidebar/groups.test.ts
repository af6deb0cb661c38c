/** How the side bar groups conversations. */
import { expect, test } from "vitest";
import type { Language } from "../../src/app/words";
import type { Conversation } from "../../src/client";
import { folderNames, groupConversations, monthLabel } from "../../src/sidebar/groups";

const now = new Date(2026, 2, 10, 9, 30);

function conversation(id: string, updated: Date, more: Partial<Conversation> = {}): Conversation {
  return {
    id,
    title: id,
    created_ms: 0,
    updated_ms: updated.getTime(),
    revision: 1,
    temporary: false,
    pinned: false,
    ...more,
  };
}

/** Each group's key with the ids in it. */
function grouped(...conversations: Conversation[]): [string, string[]][] {
  const groups = groupConversations(conversations, now);
  return groups.map(({ key, conversations }) => [key, conversations.map(({ id }) => id)]);
}

test("days begin at midnight, a week is the seven days before today, and months follow", () => {
  expect(
    grouped(
      conversation("later", new Date(2026, 2, 10, 23)),
      conversation("midnight", new Date(2026, 2, 10)),
      conversation("before midnight", new Date(2026, 2, 9, 23, 59)),
      conversation("yesterday's first", new Date(2026, 2, 9)),
      conversation("two days ago", new Date(2026, 2, 8, 23, 59)),
      conversation("seven days ago", new Date(2026, 2, 3)),
      conversation("eight days ago", new Date(2026, 2, 2, 23, 59)),
      conversation("last month", new Date(2026, 1, 28)),
      conversation("last year", new Date(2025, 1, 28)),
    ),
  ).toEqual([
    ["today", ["later", "midnight"]],
    ["yesterday", ["before midnight", "yesterday's first"]],
    ["week", ["two days ago", "seven days ago"]],
    ["month 2026 2", ["eight days ago"]],
    ["month 2026 1", ["last month"]],
    ["month 2025 1", ["last year"]],
  ]);
});

test("pinned ones come first and are in no other group; folders follow by name", () => {
  const day = new Date(2026, 2, 10);
  expect(
    grouped(
      conversation("a", day, { pinned: true, folder: "Work" }),
      conversation("b", day, { folder: "Work 10" }),
      conversation("c", day, { folder: "Work 2" }),
      conversation("d", day),
      conversation("e", day, { folder: "Work 2" }),
    ),
  ).toEqual([
    ["pinned", ["a"]],
    ["folder Work 2", ["c", "e"]],
    ["folder Work 10", ["b"]],
    ["today", ["d"]],
  ]);
});

test("no conversations make no groups", () => {
  expect(grouped()).toEqual([]);
});

test("all folders are named once, also those of pinned conversations", () => {
  const day = new Date(2026, 2, 10);
  const list = [
    conversation("a", day, { pinned: true, folder: "Work" }),
    conversation("b", day, { folder: "Home" }),
    conversation("c", day, { folder: "Work" }),
    conversation("d", day),
  ];
  expect(folderNames(list)).toEqual(["Home", "Work"]);
});

test.each<[Language, string, string]>([
  ["en", "January", "October 2025"],
  ["zh-CN", "1月", "2025年10月"],
])("months are named in %s: with their year only when it is another one", (language, thisYear, lastYear) => {
  expect([monthLabel(2026, 0, now, language), monthLabel(2025, 9, now, language)]).toEqual([
    thisYear,
    lastYear,
  ]);
});
