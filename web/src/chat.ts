/**
 * The conversation as the reader sees it: a pure reducer over turns and breaks. At most one turn is being
 * answered; the turns waiting behind it are the outbox and always stand last. Only a `done` frame makes an
 * answer whole; whatever else ends it leaves the text it has, marked for what it is.
 */

export type Failure = { name: "server"; message: string } | { name: "lost" } | { name: "too_long" };

export type TurnState =
  | { name: "waiting" }
  | { name: "answering" }
  | { name: "done" }
  | { name: "stopped" }
  | { name: "failed"; failure: Failure };

export interface Turn {
  kind: "turn";
  id: number;
  question: string;
  answer: string;
  state: TurnState;
}

/** From here on the model remembers nothing of what stands above. */
export interface Break {
  kind: "break";
  id: number;
  reason: "stopped" | "lost";
}

export interface Chat {
  items: readonly (Turn | Break)[];
  nextId: number;
}

export type Action =
  | { type: "ask"; question: string }
  | { type: "sent" }
  | { type: "delta"; content: string }
  | { type: "done" }
  | { type: "stop" }
  | { type: "fail"; message: string }
  | { type: "lost"; tooLong: boolean }
  | { type: "retry"; id: number }
  | { type: "reset" };

export const emptyChat: Chat = { items: [], nextId: 1 };

export function reduce(chat: Chat, action: Action): Chat {
  switch (action.type) {
    case "ask":
      return append(chat, action.question);
    case "sent":
      return replace(chat, nextWaiting(chat), (turn) => ({ ...turn, state: { name: "answering" } }));
    case "delta":
      return replace(chat, answering(chat), (turn) => ({ ...turn, answer: turn.answer + action.content }));
    case "done":
      return end(chat, { name: "done" });
    case "fail":
      return end(chat, { name: "failed", failure: { name: "server", message: action.message } });
    case "stop":
      return answering(chat) ? forget(end(chat, { name: "stopped" }), "stopped") : chat;
    case "lost": {
      const failure: Failure = { name: action.tooLong && answering(chat) ? "too_long" : "lost" };
      const ended = end(chat, { name: "failed", failure });
      return remembersAnything(chat) ? forget(ended, "lost") : ended;
    }
    case "retry": {
      const failed = turns(chat).find((turn) => turn.id === action.id && turn.state.name === "failed");
      if (!failed) return chat;
      const items = chat.items.filter((item) => item !== failed);
      return append({ ...chat, items }, failed.question);
    }
    case "reset":
      return { ...chat, items: [] };
  }
}

/** The turn whose answer is on its way. */
export function answering(chat: Chat): Turn | undefined {
  return turns(chat).find((turn) => turn.state.name === "answering");
}

/** The head of the outbox. */
export function nextWaiting(chat: Chat): Turn | undefined {
  return turns(chat).find((turn) => turn.state.name === "waiting");
}

function turns(chat: Chat): Turn[] {
  return chat.items.filter((item) => item.kind === "turn");
}

function append(chat: Chat, question: string): Chat {
  const turn: Turn = { kind: "turn", id: chat.nextId, question, answer: "", state: { name: "waiting" } };
  return { items: [...chat.items, turn], nextId: chat.nextId + 1 };
}

function end(chat: Chat, state: TurnState): Chat {
  return replace(chat, answering(chat), (turn) => ({ ...turn, state }));
}

function replace(chat: Chat, turn: Turn | undefined, change: (turn: Turn) => Turn): Chat {
  if (!turn) return chat;
  return { ...chat, items: chat.items.map((item) => (item === turn ? change(turn) : item)) };
}

/** The server drops a failed turn from its history, so only whole answers since the last break count. */
function remembersAnything(chat: Chat): boolean {
  const since = chat.items.slice(chat.items.findLastIndex((item) => item.kind === "break") + 1);
  return since.some((item) => item.kind === "turn" && item.state.name === "done");
}

/** Sets a break behind everything that was sent and before everything that still waits. */
function forget(chat: Chat, reason: Break["reason"]): Chat {
  const waiting = nextWaiting(chat);
  const at = waiting ? chat.items.indexOf(waiting) : chat.items.length;
  return {
    items: chat.items.toSpliced(at, 0, { kind: "break", id: chat.nextId, reason }),
    nextId: chat.nextId + 1,
  };
}
