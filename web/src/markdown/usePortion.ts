/**
 * The part of a long text that has been taken in so far. It grows in portions, so that no task reads all of a long
 * answer; a growing text that is within one portion is always whole.
 */
import { useEffect, useState } from "react";
import { next } from "./slices";

/** Cutting so many characters into blocks takes a few milliseconds. */
export const PORTION = 4096;

export function usePortion(text: string): string {
  const [limit, setLimit] = useState(PORTION);
  const { length } = text;

  useEffect(() => {
    if (length <= limit) return;
    return next(() => setLimit(limit + PORTION));
  }, [length, limit]);

  return length <= limit ? text : text.slice(0, limit);
}
