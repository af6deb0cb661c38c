/** How an answer ended, if there is something to say of it, and what can be done then. */
import { type Answer, type AnswerProblem, isFinal } from "../client";

export type EndName =
  /** By a person. */
  | "stopped"
  | "stoppedEarly"
  /** The server was restarted, or, with a problem, the model broke off. */
  | "interrupted"
  /** The limit of tokens cut it. */
  | "length"
  | "lengthOfThoughts"
  | "onlyThoughts"
  | "nothing"
  | "failed";

export interface End {
  name: EndName;
  problem?: AnswerProblem;
  /** It can go on where it was cut. */
  continues: boolean;
}

/** Nothing for an answer that runs or is whole. */
export function endOf(answer: Answer): End | undefined {
  const { status, finish_reason, text, reasoning, error } = answer;
  if (!isFinal(status)) return undefined;
  const continues = text !== "";
  switch (status) {
    case "failed":
      return { name: "failed", problem: error ?? { code: "internal", message: "" }, continues };
    case "stopped":
      return { name: text || reasoning ? "stopped" : "stoppedEarly", continues };
    case "interrupted": {
      // That the server has stopped needs no error's words.
      const broke = error && error.code !== "shutting_down";
      return { name: "interrupted", ...(broke && { problem: error }), continues };
    }
    default:
      if (finish_reason === "length") return { name: text ? "length" : "lengthOfThoughts", continues };
      if (text) return undefined;
      return { name: reasoning ? "onlyThoughts" : "nothing", continues };
  }
}
