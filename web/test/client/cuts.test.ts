/**
 * A server that writes, crashes, sends again and is read through HTTP, in five hundred random orders: a client's text is
 * always what the server has, byte for byte.
 */
import { expect, test } from "vitest";
import type { AnswerStatus, Message, ServerFrame } from "../../src/client/protocol";
import { type Answer, type ChatEvent, type ChatState, emptyState, reduce } from "../../src/client/state";

const SEEDS = 500;
const STEPS = 60;
const C = "01932c07-0000-7000-8000-00000000000c";
const M = "01932c07-6c8a-7000-8000-000000000001";
const A = "01932c07-6c8a-7000-8000-000000000002";
const PIECES = ["a", "Once upon ", "芝士", "🧀", "\ufeff", "\u0000\n", "e\u0301", "👩‍🚀 said:", "```js\n"];

type Kind = "text" | "reasoning";
type Piece = { kind: Kind; text: string };

/** The random numbers of a seed (mulberry32). */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

const size = (text: string) => Buffer.byteLength(text);

/** The server's side of one answer: what is written of it, and how much one client was sent. */
class Writer {
  /** One character each. */
  written: Piece[] = [];
  status: AnswerStatus = "running";
  cursor = 0;
  revision = 1;

  get position(): number {
    return this.written.reduce((sum, piece) => sum + size(piece.text), 0);
  }

  joined(kind: Kind): string {
    return this.written.flatMap((piece) => (piece.kind === kind ? [piece.text] : [])).join("");
  }

  /** What brings a client with `position` up to date, in as many deltas as the server likes. */
  frames(random: (below: number) => number): ServerFrame[] {
    const frames: ServerFrame[] = [];
    let at = 0;
    let open: Piece | undefined;
    for (const { kind, text } of this.written) {
      at += size(text);
      if (at <= this.cursor) continue;
      if (open?.kind !== kind || random(4) === 0) {
        open = { kind, text: "" };
        frames.push({ type: "delta", answer: A, position: 0 });
      }
      open.text += text;
      frames[frames.length - 1] = { type: "delta", answer: A, position: at, [kind]: open.text };
    }
    this.cursor = at;
    return frames;
  }

  end(): ServerFrame {
    return { type: "done", answer: A, position: this.position, status: this.status, revision: this.revision };
  }

  snapshot(): ServerFrame {
    const reasoning = this.joined("reasoning");
    const { position, status } = this;
    this.cursor = position;
    return { type: "snapshot", answer: A, position, status, text: this.joined("text"), reasoning };
  }

  knows(position: number): boolean {
    let at = 0;
    if (position === 0) return true;
    return this.written.some(({ text }) => {
      at += size(text);
      return at === position;
    });
  }

  stored(pieces: Piece[], status: AnswerStatus): ChatEvent {
    const shown = new Writer();
    shown.written = pieces;
    const answer = {
      status,
      text: shown.joined("text"),
      reasoning: shown.joined("reasoning"),
      position: shown.position,
      options: {},
    };
    const message: Message = { id: A, parent: M, role: "assistant", created_ms: 1, answer };
    const conversation = { id: C, title: "", created_ms: 1, updated_ms: 1, temporary: false, pinned: false };
    const { revision } = this;
    return { type: "loaded", conversation: { ...conversation, revision }, messages: [message], newest: true };
  }
}

function characters(kind: Kind, text: string): Piece[] {
  return Array.from(text, (text) => ({ kind, text }));
}

/** What the server still has of what a client shows. */
function shared(answer: Answer, kind: Kind): string {
  return answer.kept ? answer[kind].slice(0, answer.kept[kind]) : answer[kind];
}

test.each(Array.from({ length: 10 }, (_, tenth) => tenth))(
  "however it is cut, the text is the server's (part %i)",
  (tenth) => {
    for (let seed = tenth; seed < SEEDS; seed += 10) run(seed);
  },
);

function run(seed: number): void {
  const random = randomOf(seed);
  const server = new Writer();
  let state: ChatState = reduce(emptyState, server.stored([], "running"));
  /** Sent and not read yet; a cut loses all of it. */
  let line: ChatEvent[] = [];
  const answer = (): Answer => state.answers.get(A) as Answer;
  const read = (n: number) => {
    for (const frame of line.splice(0, n)) state = reduce(state, frame);
  };
  const check = () => {
    for (const kind of ["text", "reasoning"] as const) {
      const whole = server.joined(kind);
      if (!whole.startsWith(shared(answer(), kind))) throw new Error(`seed ${seed}: other ${kind}`);
    }
  };
  const reconnect = () => {
    line = [];
    server.cursor = answer().position;
    if (!server.knows(server.cursor)) line.push(server.snapshot());
    line.push(...server.frames(random));
    if (server.status !== "running") line.push(server.end());
  };
  const write = () => {
    const kind = random(5) === 0 ? "reasoning" : "text";
    for (let n = random(6); n >= 0; n--) server.written.push(...characters(kind, PIECES[random(9)] ?? ""));
  };
  const crash = () => {
    // All that was sent was read or lost; what was not kept is gone.
    server.written = server.written.slice(0, server.written.length - random(20));
    server.status = "interrupted";
    server.revision += 1;
    reconnect();
    read(line.length);
    check();
    // Somebody continues it.
    server.status = "running";
    server.revision += 1;
    if (random(3) === 0) server.cursor = 0;
  };
  for (let step = 0; step < STEPS; step++) {
    const what = random(20);
    if (what < 9) write();
    if (what < 12) line.push(...server.frames(random));
    else if (what < 15) reconnect();
    else if (what === 15) server.cursor = 0;
    else if (what === 16) line.push(server.stored([...server.written], "running"));
    else if (what === 17)
      line.push(server.stored(server.written.slice(0, random(server.written.length + 1)), "running"));
    else if (what === 18) read(line.length);
    else crash();
    read(random(4));
    check();
  }
  read(line.length);
  server.status = "done";
  server.revision += 1;
  line.push(...server.frames(random), server.end());
  read(line.length);
  check();
  const { text, reasoning, position, status, kept } = answer();
  expect({ seed, text, reasoning, position, status, kept }).toEqual({
    seed,
    text: server.joined("text"),
    reasoning: server.joined("reasoning"),
    position: server.position,
    status: "done",
    kept: undefined,
  });
}
