/** A client of version 2 of the chat protocol, without dependencies. Start at `ChatClient`. */
export * from "./client";
export type * from "./protocol";
export * from "./rest";
export type { Link, SocketLike, SocketOptions } from "./socket";
export {
  type Answer,
  branch,
  type Chat,
  type ChatEvent,
  type ChatState,
  emptyState,
  isFinal,
  isStale,
  openAnswers,
  reduce,
  versions,
} from "./state";
