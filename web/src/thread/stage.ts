/** What the person waits for, as a pure function: of an answer that has not ended there is always something true to say. */
import type { Answer, Link, ModelState } from "../client";

export type Stage =
  /** The page is not connected; the server goes on. */
  | { name: "lost" }
  /** Behind another answer of the conversation. */
  | { name: "behind" }
  /** The server has taken it; nothing was heard of the model. */
  | { name: "asked" }
  /** The server waits for a model that does not answer. */
  | { name: "unavailable" }
  | { name: "queued"; place: number; waitSeconds?: number }
  | { name: "loading"; done?: number; total?: number }
  | { name: "reading"; done?: number; total?: number; cached?: number }
  | { name: "thinking" }
  | { name: "writing" };

/** So long may a working model be silent before the page says so. */
export const SILENCE_MS = 10_000;

/** `model` is how the model is, as far as the server has told. */
export function stageOf(answer: Answer, link: Link, model: ModelState = "ready"): Stage {
  if (link.name !== "open") return { name: "lost" };
  if (answer.status === "waiting") return { name: "behind" };
  const { stage } = answer;
  if (!stage) {
    if (answer.text) return { name: "writing" };
    if (answer.reasoning) return { name: "thinking" };
    return { name: model === "ready" ? "asked" : model };
  }
  if (stage.type === "queued") {
    const { place, wait_seconds } = stage;
    return { name: "queued", place, ...(wait_seconds !== undefined && { waitSeconds: wait_seconds }) };
  }
  const { phase, done, total, cached } = stage;
  const progress = { ...(done !== undefined && { done }), ...(total !== undefined && { total }) };
  switch (phase) {
    case "loading":
      return { name: "loading", ...progress };
    case "prompt":
      return { name: "reading", ...progress, ...(cached !== undefined && { cached }) };
    case "thinking":
    case "writing":
      return { name: phase };
  }
}

/** Whether silence means something: who waits in a queue, or for a model that loads, hears only of changes. */
export function shouldBeHeard({ name }: Stage): boolean {
  return name === "asked" || name === "reading" || name === "thinking" || name === "writing";
}
