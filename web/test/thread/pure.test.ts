/** The thread's pure functions: rows, stages, ends, numbers, and what is said aloud. */
import { describe, expect, test } from "vitest";
import { AnswerClock, estimateTokens } from "../../src/app/clock";
import { fileToPart } from "../../src/app/content";
import { describeError, duration, errorWords } from "../../src/app/errorWords";
import { loadPreferences } from "../../src/app/preferences";
import { initialState, type PageState, type Pending } from "../../src/app/state";
import type { Answer, Chat, Link, Message } from "../../src/client";
import { announce, nothingHeard, spoken } from "../../src/thread/announce";
import { contextUse, lastLeftOut } from "../../src/thread/context";
import { isLong, withWritten } from "../../src/thread/edit";
import { endOf } from "../../src/thread/end";
import { equal } from "../../src/thread/equal";
import { facts, thoughtShareMs } from "../../src/thread/facts";
import { finalWords } from "../../src/thread/LinkBanner";
import { isTiny, modelName, parametersOf } from "../../src/thread/model";
import { threadRows } from "../../src/thread/rows";
import { stageOf } from "../../src/thread/stage";
import { words } from "../../src/thread/words";
import { serverFrames } from "../goldenFrames";
import { answer, CHAT, id, question, turns } from "./harness";

const OPEN: Link = { name: "open" };

function held(change: Partial<Answer> = {}): Answer {
  return { id: id(2), status: "running", text: "", reasoning: "", position: 0, options: {}, ...change };
}

function tree(messages: Message[], leaf = messages.at(-1)?.id): Chat {
  const map = new Map(messages.map((message) => [message.id, message]));
  return {
    id: CHAT,
    revision: 1,
    latest: 1,
    messages: map,
    deleted: false,
    ...(leaf !== undefined && { leaf }),
  };
}

function state(messages: Message[], answers: Record<string, Partial<Answer>> = {}): PageState {
  const empty = initialState(loadPreferences(localStorage));
  const all = messages.flatMap((message) => {
    const { answer } = message;
    if (!answer) return [];
    return [[message.id, { id: message.id, reasoning: "", ...answer, ...answers[message.id] }] as const];
  });
  return {
    ...empty,
    open: CHAT,
    chat: { ...empty.chat, chats: new Map([[CHAT, tree(messages)]]), answers: new Map<string, Answer>(all) },
  };
}

function pending(change: Partial<Pending>): Pending {
  return { id: "p1", content: [], options: {}, temporary: false, createdMs: 0, ...change };
}

describe("rows", () => {
  const old = [question(1, "a"), answer(2, id(1)), question(3, "b", id(2)), answer(4, id(3))];

  test("each message knows its place among its versions, and a question its answer", () => {
    const messages = [...old, answer(5, id(3)), question(6, "b again", id(2)), answer(7, id(6))];
    const { rows } = threadRows(tree(messages, id(5)), undefined, []);
    expect(rows.map(({ message, place, next }) => [message.id, place, next])).toEqual([
      [id(1), { number: 1, count: 1 }, id(2)],
      [id(2), { number: 1, count: 1 }, id(3)],
      [id(3), { number: 1, count: 2, next: id(6) }, id(5)],
      [id(5), { number: 2, count: 2, previous: id(4) }, undefined],
    ]);
  });

  test("a question that is asked again takes the old one's place before the server has taken it", () => {
    const shown = (outbox: Pending[]) =>
      threadRows(tree(old), undefined, outbox).rows.map(({ message }) => message.id);
    expect(shown([pending({ parent: id(2) })])).toEqual([id(1), id(2)]);
    expect(shown([pending({ parent: null })])).toEqual([]);
    expect(shown([pending({})])).toEqual(old.map((message) => message.id));
    expect(shown([pending({ parent: id(99) })])).toEqual(old.map((message) => message.id));
  });
});

describe("stages", () => {
  const queued = { type: "queued", answer: id(2), place: 3, wait_seconds: 12 } as const;
  const progress = { type: "progress", answer: id(2) } as const;
  const prompt = { ...progress, phase: "prompt", done: 5, total: 9, cached: 2 } as const;

  test.each<[string, Partial<Answer>, Link, object]>([
    ["nothing was heard of the model", {}, OPEN, { name: "asked" }],
    ["it waits behind another answer", { status: "waiting" }, OPEN, { name: "behind" }],
    ["it waits for the model", { stage: queued }, OPEN, { name: "queued", place: 3, waitSeconds: 12 }],
    ["the model loads", { stage: { ...progress, phase: "loading" } }, OPEN, { name: "loading" }],
    ["the prompt is read", { stage: prompt }, OPEN, { name: "reading", done: 5, total: 9, cached: 2 }],
    ["it thinks", { stage: { ...progress, phase: "thinking" } }, OPEN, { name: "thinking" }],
    ["it writes", { stage: { ...progress, phase: "writing" } }, OPEN, { name: "writing" }],
    ["only its text is known", { text: "a" }, OPEN, { name: "writing" }],
    ["only its thoughts are known", { reasoning: "a" }, OPEN, { name: "thinking" }],
    ["the connection is lost", { stage: queued }, { name: "connecting" }, { name: "lost" }],
  ])("when %s", (_, change, link, stage) => {
    expect(stageOf(held(change), link)).toEqual(stage);
  });
});

test("a model that loads or does not answer is told before anything is heard of it", () => {
  const stages = (["loading", "unavailable", "ready"] as const).map((model) => stageOf(held(), OPEN, model));
  expect(stages).toEqual([{ name: "loading" }, { name: "unavailable" }, { name: "asked" }]);
});

describe("ends", () => {
  const failed = { code: "upstream_error", message: "the model failed" } as const;

  test.each<[Partial<Answer>, object | undefined]>([
    [{ status: "running", text: "a" }, undefined],
    [{ status: "done", finish_reason: "stop", text: "a" }, undefined],
    [
      { status: "done", finish_reason: "length", text: "a" },
      { name: "length", continues: true },
    ],
    [
      { status: "done", finish_reason: "length", reasoning: "a" },
      { name: "lengthOfThoughts", continues: false },
    ],
    [
      { status: "done", finish_reason: "stop" },
      { name: "nothing", continues: false },
    ],
    [
      { status: "done", reasoning: "a" },
      { name: "onlyThoughts", continues: false },
    ],
    [
      { status: "stopped", text: "a" },
      { name: "stopped", continues: true },
    ],
    [{ status: "stopped" }, { name: "stoppedEarly", continues: false }],
    [
      { status: "interrupted", text: "a" },
      { name: "interrupted", continues: true },
    ],
    [
      { status: "interrupted", text: "a", error: { code: "shutting_down", message: "" } },
      { name: "interrupted", continues: true },
    ],
    [
      { status: "interrupted", text: "a", error: failed },
      { name: "interrupted", problem: failed, continues: true },
    ],
    [
      { status: "failed", text: "a", error: failed },
      { name: "failed", problem: failed, continues: true },
    ],
    [{ status: "failed" }, { name: "failed", problem: { code: "internal", message: "" }, continues: false }],
  ])("of %o are told with what can be done", (change, end) => {
    expect(endOf(held(change))).toEqual(end);
  });
});

describe("errors", () => {
  test("each code of the protocol has words of its own in both languages", () => {
    const codes = serverFrames.flatMap((frame) => (frame.type === "error" ? [frame.code] : []));
    for (const code of [...codes, "closed", "expired", "unreachable", "quota_exceeded"]) {
      expect(errorWords({ code }, "en")).not.toEqual(errorWords({ code: "internal" }, "en"));
      expect(describeError({ code }, "zh-CN")).toMatch(/^[^a-z]+。$/);
    }
  });

  test("a known time to wait is told, and a code of a later server counts as internal", () => {
    const busy = { code: "rate_limited", retryAfterSeconds: 12 };
    expect(describeError(busy, "en")).toBe(
      "You have sent more messages than the server allows in a minute. Try again in 12 s.",
    );
    expect(describeError(busy, "zh-CN")).toBe("你在一分钟内发送的消息过多。请在 12 秒后重试。");
    expect(describeError({ code: "new_one" }, "en")).toBe("Something went wrong on the server. Try again.");
  });

  test("a time is told in one unit, rounded up", () => {
    const times = [0, 1, 45.2, 100, 5399, 5400, 86_400].map((seconds) => duration(seconds, "en"));
    expect(times).toEqual(["1 s", "1 s", "46 s", "2 min", "90 min", "2 h", "24 h"]);
  });

  test("each final close says what to do, and a wait for the next attempt says nothing", () => {
    const says = (code: number) => finalWords({ name: "closed", code, reason: "" }, words.en);
    const { linkSignedOut, linkRevoked, linkTooMany, linkVersion, linkBroken, linkForbidden } = words.en;
    expect([4401, 4410, 4409, 4406, 4400, 4408, 1003, 1006, 1000].map(says)).toEqual([
      linkSignedOut,
      linkRevoked,
      linkTooMany,
      linkVersion,
      linkBroken,
      linkBroken,
      linkBroken,
      linkForbidden,
      undefined,
    ]);
    expect(finalWords({ name: "waiting", retryAt: 0, code: 1006 }, words.en)).toBeUndefined();
  });
});

describe("numbers", () => {
  const done = held({
    status: "done",
    text: "abc",
    usage: { prompt_tokens: 30, cached_tokens: 20, completion_tokens: 1206 },
    timings: { first_token_ms: 1240, writing_ms: 60_000 },
  });

  test("an ended answer tells its speed, its length and when it began", () => {
    expect(facts(done, words.en, "en")).toEqual(["20 tokens/s", "1,206 tokens", "began after 1.2 s"]);
    expect(facts(done, words["zh-CN"], "zh-CN")).toEqual(["20 token/秒", "1,206 token", "1.2 秒后开始"]);
  });

  test("the model's own speed goes before the server's clock", () => {
    const timings = { first_token_ms: 80, writing_ms: 60_000, tokens_per_second: 7.53 };
    expect(facts({ ...done, timings }, words.en, "en")[0]).toBe("7.5 tokens/s");
  });

  test("what is not known is not told", () => {
    expect(facts(held({ status: "stopped", text: "a" }), words.en, "en")).toEqual([]);
    expect(facts({ ...done, status: "running" }, words.en, "en")).toEqual([]);
  });

  test("thoughts that nobody timed took their share of the whole", () => {
    expect(thoughtShareMs({ ...done, reasoning: "abcdefghi" })).toBe(45_000);
    expect(thoughtShareMs(held({ reasoning: "a" }))).toBeUndefined();
  });
});

describe("the clock", () => {
  function clockAt() {
    let now = 0;
    const clock = new AnswerClock(() => now);
    const at = (ms: number, ...pieces: { text?: string; reasoning?: string; position: number }[]) => {
      now = ms;
      for (const piece of pieces) clock.follow({ type: "delta", answer: "a", ...piece });
      return clock;
    };
    return { clock, at };
  }

  test("thoughts are timed from the first one to the first word of text", () => {
    const { clock, at } = clockAt();
    at(1000, { reasoning: "嗯", position: 3 });
    expect(at(3000).thoughtMs("a")).toBe(2000);
    at(5000, { text: "Yes", position: 6 });
    expect(at(60_000).thoughtMs("a")).toBe(4000);
    expect(clock.thoughtMs("b")).toBeUndefined();
  });

  test("thoughts whose beginning was not seen are not timed", () => {
    expect(clockAt().at(1000, { reasoning: "more", position: 400 }).thoughtMs("a")).toBeUndefined();
  });

  test("the speed is that of the last seconds, and none at the first word", () => {
    const { at } = clockAt();
    const forty = "forty letters are about ten tokens long.".repeat(1);
    expect(at(0, { text: forty, position: 40 }).speed("a")).toBeUndefined();
    at(1000, { text: forty, position: 80 });
    expect(at(2000, { text: forty, position: 120 }).speed("a")).toBeCloseTo((2 * 40) / 4.2 / 2);
  });

  test("silence counts from the last frame", () => {
    const { at } = clockAt();
    at(1000, { text: "a", position: 1 });
    expect(at(12_000).silence("a")).toBe(11_000);
  });

  test("a Chinese character is more of a token than a Latin letter", () => {
    expect([estimateTokens("你好吗"), estimateTokens("a".repeat(42))]).toEqual([2, 10]);
  });
});

describe("context", () => {
  const context = { left_out: 4, used: 700, size: 1000 };

  test("is that of the newest answer which told of it", () => {
    const messages = turns(3);
    expect(contextUse(state(messages))).toBeUndefined();
    expect(contextUse(state(messages, { [id(4)]: { context }, [id(2)]: {} }))).toEqual(context);
  });

  test("the line comes after the last whole turn that is left out", () => {
    const messages = turns(5);
    expect(lastLeftOut(state(messages, { [id(10)]: { context } }))).toBe(id(4));
    // The server leaves a question without a word of answer out anyway, and does not count it.
    expect(lastLeftOut(state(messages, { [id(10)]: { context }, [id(2)]: { text: "" } }))).toBe(id(6));
    expect(
      lastLeftOut(state(messages, { [id(10)]: { context: { ...context, left_out: 0 } } })),
    ).toBeUndefined();
  });

  test("there is no line while the beginning is not loaded", () => {
    const messages = turns(5).slice(2);
    expect(lastLeftOut(state(messages, { [id(10)]: { context } }))).toBeUndefined();
  });
});

describe("editing", () => {
  const file = fileToPart({ name: "a.txt", text: "abc" });
  const image = { type: "image", data_url: "data:image/png;base64,AAAA" } as const;

  test("other words leave files and images as they are", () => {
    const text = (text: string) => ({ type: "text", text }) as const;
    expect(withWritten([file, text("old"), image], "new")).toEqual([file, text("new"), image]);
    expect(withWritten([image], "new")).toEqual([image, text("new")]);
    expect(withWritten([text("old"), file], " ")).toEqual([file]);
  });

  test("what is long by its lines or its letters is folded", () => {
    expect([isLong("a"), isLong("a\n".repeat(20)), isLong("a".repeat(2000))]).toEqual([false, true, true]);
  });
});

describe("models", () => {
  const model = {
    name: "SmolLM2-135M-Instruct.Q4_1.gguf",
    images: false,
    tools: false,
    state: "ready",
  } as const;

  test("the development model is tiny by its name, or by what the server tells", () => {
    expect(modelName(model)).toBe("SmolLM2-135M-Instruct.Q4_1");
    const names = ["smollm2-135m", "Qwen2.5-1.5B-Instruct", "gemma-3-4b-it", "Q4_K_M", "phi-3.5-mini"];
    expect(names.map((name) => parametersOf({ ...model, name }))).toEqual([
      135_000_000,
      1_500_000_000,
      4_000_000_000,
      undefined,
      undefined,
    ]);
    expect([isTiny(model), isTiny({ ...model, name: "qwen3" })]).toEqual([true, false]);
    expect(isTiny({ ...model, parameters: 4e9 } as never)).toBe(false);
  });
});

describe("what is said aloud", () => {
  const messages = [question(1, "a"), answer(2, id(1), { text: "It *is* so." })];
  const running = { ...state(messages, { [id(2)]: { status: "running", conversation: CHAT } }) };
  const connected = { ...running, chat: { ...running.chat, link: OPEN } };

  test("that the model works, and its whole answer at the end", () => {
    const [begun, works] = announce(nothingHeard, connected, "en");
    expect(works).toBe("The model is working on an answer.");
    expect(announce(begun, connected, "en")[1]).toBeUndefined();
    const ended = state(messages, { [id(2)]: { conversation: CHAT } });
    const [, says] = announce(begun, { ...ended, chat: { ...ended.chat, link: OPEN } }, "en");
    expect(says).toBe("Answer: It is so.");
  });

  test("why an answer failed, after what there is of it", () => {
    const [begun] = announce(nothingHeard, connected, "zh-CN");
    const error = { code: "upstream_timeout", message: "" } as const;
    const failed = state(messages, { [id(2)]: { conversation: CHAT, status: "failed", error } });
    const [, says] = announce(begun, { ...failed, chat: { ...failed.chat, link: OPEN } }, "zh-CN");
    expect(says).toBe("回答：It is so. 模型响应超时。请重试。");
  });

  test("that the connection was lost, and once that it is back", () => {
    const idle = state(messages);
    const linked = (link: Link) => ({ ...idle, chat: { ...idle.chat, link } });
    let [heard, said] = announce(nothingHeard, linked({ name: "connecting" }), "en");
    const links: Link[] = [
      OPEN,
      { name: "waiting", retryAt: 0, code: 1006 },
      { name: "connecting" },
      OPEN,
      OPEN,
    ];
    const all = links.map((link) => {
      [heard, said] = announce(heard, linked(link), "en");
      return said;
    });
    expect(all).toEqual([undefined, words.en.saidLost, undefined, words.en.saidBack, undefined]);
  });

  test("the beginning of a long answer ends at a word, without the signs of Markdown", () => {
    expect(spoken("# One\n\n- **two** `three` [four](http://x)\n", 99)).toBe("One two three four");
    expect(spoken("one two three four", 9)).toBe("one two…");
    expect(spoken("你".repeat(300))).toBe(`${"你".repeat(200)}…`);
  });
});

test("equal compares what JSON can hold", () => {
  expect(equal({ a: [1, { b: "c" }] }, { a: [1, { b: "c" }] })).toBe(true);
  expect(equal({ a: [1, { b: "c" }] }, { a: [1, { b: "d" }] })).toBe(false);
  expect([
    equal({ a: 1 }, { b: 1 }),
    equal([1], [1, 2]),
    equal(null, {}),
    equal({ a: 1 }, undefined),
  ]).toEqual([false, false, false, false]);
});
