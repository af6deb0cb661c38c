/** What can be said of a model to somebody who does not know it. */
import type { Model } from "../client";

/** Models below this show that everything works, and little more. */
const TINY_PARAMETERS = 450_000_000;
const SIZE = /(?:^|[^a-z0-9.])(\d+(?:\.\d+)?)\s?([mb])(?![a-z0-9])/i;

/** Without the ending of its file. */
export function modelName({ name }: Model): string {
  return name.replace(/\.gguf$/i, "");
}

/** How many weights it has: as the server tells, or else as its name does. */
export function parametersOf(model: Model & { parameters?: number }): number | undefined {
  if (model.parameters !== undefined) return model.parameters;
  const found = SIZE.exec(model.name);
  if (!found) return undefined;
  return Number(found[1]) * (found[2]?.toLowerCase() === "b" ? 1e9 : 1e6);
}

export function isTiny(model: Model): boolean {
  return (parametersOf(model) ?? Number.POSITIVE_INFINITY) < TINY_PARAMETERS;
}
