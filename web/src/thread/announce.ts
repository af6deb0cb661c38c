/**
 * What a screen reader is told, as a pure function of the state before and after: one calm sentence for each thing that
 * happened, and a finished answer's beginning. Never a token at a time.
 */
import { describeError } from "../app/errorWords";
import { runningAnswer } from "../app/page";
import type { PageState } from "../app/state";
import type { Language } from "../app/words";
import { type Answer, isFinal } from "../client";
import { endOf } from "./end";
import { words } from "./words";

/** So much of an answer is read aloud. */
const SPOKEN_CHARACTERS = 200;

/** What was there when something was last said. */
export interface Heard {
  isConnected: boolean;
  /** The connection was there, and went. */
  wasLost: boolean;
  open: string | undefined;
  running: string | undefined;
  refused: string | undefined;
}

export const nothingHeard: Heard = {
  isConnected: false,
  wasLost: false,
  open: undefined,
  running: undefined,
  refused: undefined,
};

/** The sentence for what changed, if any, and what to compare the next state with. */
export function announce(heard: Heard, state: PageState, language: Language): [Heard, string | undefined] {
  const text = words[language];
  const isConnected = state.chat.link.name === "open";
  const lost = heard.isConnected && !isConnected;
  const back = heard.wasLost && isConnected;
  const running = runningAnswer(state)?.id;
  const refused = state.outbox.find(({ conversation, error }) => error && conversation === state.open);
  const next: Heard = {
    isConnected,
    wasLost: !isConnected && (heard.wasLost || lost),
    open: state.open,
    running,
    refused: refused?.id,
  };
  const ended = heard.running === undefined ? undefined : state.chat.answers.get(heard.running);
  if (ended && isFinal(ended.status) && ended.conversation === state.open)
    return [next, spokenEnd(ended, language)];
  if (refused?.error && refused.id !== heard.refused) return [next, describeError(refused.error, language)];
  if (lost) return [next, text.saidLost];
  if (back) return [next, text.saidBack];
  const begins = running !== undefined && running !== heard.running;
  return [next, begins ? text.saidWorking : undefined];
}

function spokenEnd(answer: Answer, language: Language): string {
  const text = words[language];
  const end = endOf(answer);
  const says = end?.problem
    ? describeError(end.problem, language)
    : end && end.name !== "failed"
      ? text.ends[end.name]
      : "";
  const answered = answer.text === "" ? "" : text.saidAnswer(spoken(answer.text));
  return [answered, says].filter((part) => part !== "").join(" ");
}

/** The beginning of an answer, without the signs of Markdown. Ends at a word where there is one. */
export function spoken(markdown: string, most = SPOKEN_CHARACTERS): string {
  const plain = markdown
    .slice(0, 10 * most)
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replace(/^\s*(?:[-*+>#]+|\d+\.)\s+/gm, "")
    .replace(/[*_`~|]+/g, "")
    .replace(/\s+/g, " ")
    .trim();
  const characters = Array.from(plain);
  if (characters.length <= most) return plain;
  const cut = characters.slice(0, most).join("");
  const word = cut.lastIndexOf(" ");
  return `${word > cut.length / 2 ? cut.slice(0, word) : cut}…`;
}
