/**
 * When things happened to the answers that this page has watched. The protocol tells of times only at an answer's end,
 * and the client's state holds no clock. Keeps numbers only, and of running answers the last few seconds.
 */
import type { ChatEvent } from "../client";

/** So far back looks the estimate of the speed. */
const WINDOW_MS = 4000;
/** Less than this says nothing about the speed. */
const SHORTEST_MS = 700;
const LATIN_PER_TOKEN = 4.2;
const CJK_PER_TOKEN = 1.5;
const CJK = /[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]/g;

interface Piece {
  at: number;
  tokens: number;
}

interface Times {
  /** The last frame about it. */
  heard: number;
  thinkingSince?: number;
  thoughtMs?: number;
  /** The last pieces of its text, oldest first. */
  pieces: Piece[];
}

export class AnswerClock {
  readonly #times = new Map<string, Times>();
  readonly #now: () => number;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  /** To be told of everything that the client is told of. */
  follow(event: ChatEvent): void {
    const now = this.#now();
    switch (event.type) {
      case "accepted":
      case "queued":
      case "progress":
      case "context":
      case "snapshot":
        this.#of(event.answer).heard = now;
        break;
      case "delta": {
        const { answer, position, text = "", reasoning = "" } = event;
        const times = this.#of(answer);
        times.heard = now;
        // Only who saw the first thought knows how long they took.
        if (reasoning && position === byteLength(reasoning)) times.thinkingSince = now;
        if (text) this.#endThoughts(times, now);
        const piece = { at: now, tokens: estimateTokens(text || reasoning) };
        times.pieces = [...times.pieces.filter(({ at }) => now - at < WINDOW_MS), piece];
        break;
      }
      case "done": {
        const times = this.#of(event.answer);
        times.pieces = [];
        this.#endThoughts(times, now);
        break;
      }
    }
  }

  /** For how long nothing was heard of an answer, in milliseconds. */
  silence(answer: string): number {
    const heard = this.#times.get(answer)?.heard;
    return heard === undefined ? 0 : this.#now() - heard;
  }

  /** How long the model has thought so far, or thought in all, in milliseconds. Missing when nobody saw it begin. */
  thoughtMs(answer: string): number | undefined {
    const times = this.#times.get(answer);
    if (times?.thinkingSince === undefined) return undefined;
    return times.thoughtMs ?? this.#now() - times.thinkingSince;
  }

  /** Tokens a second in the last seconds: an estimate from the text. Missing before there is enough of it. */
  speed(answer: string): number | undefined {
    const pieces = this.#times.get(answer)?.pieces ?? [];
    const [first, ...rest] = pieces;
    if (!first) return undefined;
    const now = this.#now();
    const took = now - first.at;
    if (took < SHORTEST_MS || took > 2 * WINDOW_MS) return undefined;
    // What came first was written before the time that is measured.
    const tokens = rest.reduce((sum, piece) => sum + piece.tokens, 0);
    return (1000 * tokens) / took || undefined;
  }

  #of(answer: string): Times {
    let times = this.#times.get(answer);
    if (!times) {
      times = { heard: this.#now(), pieces: [] };
      this.#times.set(answer, times);
    }
    return times;
  }

  #endThoughts(times: Times, now: number): void {
    if (times.thinkingSince !== undefined) times.thoughtMs ??= now - times.thinkingSince;
  }
}

/** About how many tokens a text is. */
export function estimateTokens(text: string): number {
  const wide = text.match(CJK)?.length ?? 0;
  return wide / CJK_PER_TOKEN + (text.length - wide) / LATIN_PER_TOKEN;
}

const encoder = new TextEncoder();

function byteLength(text: string): number {
  return encoder.encode(text).length;
}
