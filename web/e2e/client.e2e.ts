/** What another frontend can rely on with a real gateway and model behind the client of version 2. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Answer, branch, ChatError, isFinal, isStale, versions } from "../src/client";
import { Line } from "./line";
import { Visitor } from "./visitor";

const LONG = "Write a very long story about a lighthouse keeper, with many chapters.";
const SHORT = "Say hello in one short sentence.";
const COUNT = "Count from one to twenty in words.";
const MAX_TOKENS = 120;

let line: Line;
let visitors: Visitor[];

beforeEach(async () => {
  line = await Line.open();
  visitors = [];
});
afterEach(() => {
  for (const { client } of visitors) client.close();
  line.close();
});

function visit(other?: Visitor): Visitor {
  const visitor = new Visitor(line, other);
  visitors.push(visitor);
  return visitor;
}

/** Waits until an answer has ended. */
function ended(visitor: Visitor, answer: string): Promise<Answer> {
  return visitor.answer(answer, ({ status }) => isFinal(status));
}

/** What HTTP says of an answer. */
async function kept({ rest }: Visitor, conversation: string, answer: string) {
  const { messages } = await rest.messages(conversation);
  return messages.find((message) => message.id === answer)?.answer;
}

test("an answer over a line that is cut every moment is what the server keeps, byte for byte", async () => {
  const visitor = visit();
  const options = { max_tokens: MAX_TOKENS };
  const taken = visitor.client.send({ content: LONG, options });
  const cutting = setInterval(() => line.cut(), 400);
  try {
    const { conversation, answer } = await taken;
    const { status, text, position } = await ended(visitor, answer);
    clearInterval(cutting);
    expect(await kept(visitor, conversation, answer)).toMatchObject({ status, text, position });
    expect([status, text.length > 0, visitor.sockets > 1]).toEqual(["done", true, true]);
  } finally {
    clearInterval(cutting);
  }
});

test("a tab that comes in the middle ends with the same text, and both know all there is to know", async () => {
  const first = visit();
  const { conversation, answer } = await first.client.send({
    content: LONG,
    options: { max_tokens: MAX_TOKENS },
  });
  await first.answer(answer, ({ text }) => text.length > 40);
  const second = visit(first);
  await second.rest.loadInto(second.client, conversation);
  await second.client.watch(conversation);
  const [a, b] = await Promise.all([ended(first, answer), ended(second, answer)]);
  expect([a?.status, b?.text]).toEqual(["done", a?.text]);
  await Promise.all(
    [first, second].map(async (visitor) => {
      const state = await visitor.until(({ chats }) => {
        const chat = chats.get(conversation);
        return chat !== undefined && !isStale(chat);
      });
      expect(state.chats.get(conversation)?.messages.size).toBe(2);
    }),
  );
});

test("a stopped answer goes on where it was cut, also for a tab that only read it over HTTP", async () => {
  const first = visit();
  const { conversation, answer } = await first.client.send({ content: LONG, options: { max_tokens: 400 } });
  await first.answer(answer, ({ text }) => text.length > 40);
  await first.client.stop(answer);
  const stopped = await ended(first, answer);
  expect(stopped.status).toBe("stopped");
  const second = visit(first);
  await second.rest.loadInto(second.client, conversation);
  const continued = await second.client.continue(answer);
  expect(continued.answer).toBe(answer);
  const isLonger = ({ text }: Answer) => text.length > stopped.text.length + 20;
  await Promise.all([first.answer(answer, isLonger), second.answer(answer, isLonger)]);
  await second.client.stop(answer);
  const [a, b] = await Promise.all([ended(first, answer), ended(second, answer)]);
  expect(a?.text.startsWith(stopped.text)).toBe(true);
  expect(b?.text).toBe(a?.text);
  expect(await kept(second, conversation, answer)).toMatchObject({ status: "stopped", text: a?.text });
});

test("messages wait, are edited, taken back and answered in turn", async () => {
  const me = visit();
  const { client, rest } = me;
  const first = await client.send({ content: LONG, options: { max_tokens: 400 } });
  const { conversation } = first;
  const more = { conversation, options: { max_tokens: 16 } };
  const second = await client.send({ content: LONG, ...more });
  const third = await client.send({ content: "never", ...more });
  const status = (answer: string) => client.getState().answers.get(answer)?.status;
  expect([status(second.answer), status(third.answer)]).toEqual(["waiting", "waiting"]);
  await client.editQueued(second.message, SHORT);
  await client.dropQueued(third.message);
  await client.stop(first.answer);
  await ended(me, second.answer);
  await rest.loadInto(client, conversation);
  const chat = client.getState().chats.get(conversation);
  const ids = chat && branch(chat).map((message) => message.id);
  expect(ids).toEqual([first.message, first.answer, second.message, second.answer]);
  expect(chat?.messages.get(second.message)?.content).toEqual([{ type: "text", text: SHORT }]);
});

test("another answer and another question are versions beside the first", async () => {
  const me = visit();
  const options = { max_tokens: 8 };
  const first = await me.client.send({ content: COUNT, options });
  const { conversation } = first;
  await ended(me, first.answer);
  const second = await me.client.regenerate(first.answer, options);
  await ended(me, second.answer);
  const third = await me.client.send({ content: SHORT, conversation, parent: null, options });
  await ended(me, third.answer);
  const mine = me.client.getState().chats.get(conversation);
  await me.rest.loadInto(me.client, conversation);
  const chat = me.client.getState().chats.get(conversation);
  if (!chat || !mine) throw new Error("no conversation");
  const ids = (parent: string | null) => versions(chat, parent).map((message) => message.id);
  expect([ids(null), ids(first.message)]).toEqual([
    [first.message, third.message],
    [first.answer, second.answer],
  ]);
  const parents = (messages: typeof chat.messages) =>
    new Map([...messages].map(([id, { parent }]) => [id, parent]));
  expect(parents(mine.messages)).toEqual(parents(chat.messages));
});

test("somebody else's conversation is none", async () => {
  const { conversation } = await visit().client.send({ content: SHORT, options: { max_tokens: 8 } });
  const other = visit();
  await other.until(({ link }) => link.name === "open");
  const refused = await other.client.watch(conversation).catch((error) => error);
  expect(refused).toBeInstanceOf(ChatError);
  expect(refused.code).toBe("not_found");
  await expect(other.rest.get(conversation)).rejects.toMatchObject({ code: "not_found" });
});
