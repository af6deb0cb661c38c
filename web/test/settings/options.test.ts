/** Typed numbers and strings become options, or say what is wrong. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import {
  describeRange,
  limitsOf,
  type OptionRange,
  parseNumber,
  parseStops,
  rangeOf,
  showStops,
  systemError,
  withOption,
} from "../../src/settings/options";

const upTo2: OptionRange = { min: 0, max: 2, whole: false };
const whole: OptionRange = { min: 1, whole: true };

test.each([
  ["", undefined],
  ["  ", undefined],
  ["0", 0],
  ["2", 2],
  ["0.7", 0.7],
  ["0,7", 0.7],
  [".5", 0.5],
  ["1.", 1],
])("%j is taken as a temperature", (typed, value) => {
  expect(parseNumber(typed, "temperature", upTo2, "en")).toEqual({ value });
});

test.each(["2.1", "-1", "abc", "1e1", "0x1", "1 2", "NaN", "Infinity", "1.000,5"])(
  "%j is no temperature, and the sentence names the field",
  (typed) => {
    expect(parseNumber(typed, "temperature", upTo2, "en")).toEqual({
      error: "Temperature must be a number from 0 to 2.",
    });
  },
);

test.each(["0", "1.5", "99999999999999999999"])("%j is no length of an answer", (typed) => {
  expect(parseNumber(typed, "max_tokens", whole, "zh-CN")).toEqual({
    error: "最大回答长度必须是不小于 1 的整数。",
  });
});

test("a range is told as far as it is known", () => {
  expect(describeRange({ min: 0, max: 1, whole: false }, "en")).toBe("a number from 0 to 1");
  expect(describeRange({ min: 1, whole: true }, "en")).toBe("a whole number of at least 1");
  expect(describeRange({ min: 0, max: 1, whole: false }, "zh-CN")).toBe(" 0 到 1 的数字");
});

test("before the server has told its limits there is only the least value", () => {
  expect(rangeOf("temperature", limitsOf(undefined))).toEqual({ min: 0, whole: false });
  expect(rangeOf("max_tokens", limitsOf(undefined))).toEqual({ min: 1, whole: true });
});

test("the server's ranges and defaults hold", () => {
  const lines = readFileSync("../docs/protocol/golden/server-frames.jsonl", "utf8").split("\n");
  const limits = limitsOf(JSON.parse(lines.find((line) => line.includes('"welcome"')) ?? ""));
  expect(rangeOf("temperature", limits)).toEqual({ min: 0, max: 2, default: 0.2, whole: false });
  expect(rangeOf("top_k", limits)).toEqual({ min: 0, max: 1000, whole: true });
  expect(systemError("x".repeat((limits.system_bytes ?? 0) + 1), limits, "en")).toBe(
    "The system prompt must be at most 66 kB.",
  );
  expect(parseStops("x".repeat(257), limits, "en")).toEqual({
    error: "Each stop string must be at most 256 bytes.",
  });
});

test.each([
  ["", undefined],
  ["\n\n", undefined],
  ["END", ["END"]],
  ["END\n\\n\\n\nUser:", ["END", "\n\n", "User:"]],
])("the lines %j are stop strings", (typed, value) => {
  expect(parseStops(typed, {}, "en")).toEqual({ value });
});

test("a fifth stop string is refused", () => {
  expect(parseStops("1\n2\n3\n4\n5", {}, "en")).toEqual({ error: "There can be at most 4 stop strings." });
});

test("stop strings are shown as they are typed", () => {
  expect(showStops(["END", "\n\n"])).toBe("END\n\\n\\n");
  expect(showStops(undefined)).toBe("");
});

test("an option is set, or left to the server", () => {
  expect(withOption({ seed: 1 }, "top_k", 40)).toEqual({ seed: 1, top_k: 40 });
  expect(withOption({ seed: 1, top_k: 40 }, "top_k", undefined)).toEqual({ seed: 1 });
});
