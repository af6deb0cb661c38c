/** Why something that was asked of the server was not done. */
import { describeError } from "../app/errorWords";
import type { Language } from "../app/words";
import { ChatError } from "../client";

/** For a `catch`. What is no answer of the server's is a defect and goes on. */
export function problemWords(reason: unknown, language: Language): string {
  if (!(reason instanceof ChatError)) throw reason;
  return describeError(reason, language);
}
