/**
 * Puts the rows of a long conversation into the page a few at a time, from its end to its beginning, whenever the
 * browser is idle. What is being read stays where it is.
 */
import { type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import { flushSync } from "react-dom";

/** Little enough for one short task; the screen is full a moment later. */
const FIRST_ROWS = 4;
const MAX_STEP = 16;
/** A step should take so long. */
const STEP_MS = 10;
/** A busy page still gets a step this often. */
const AT_LEAST_EVERY_MS = 250;

/** The index of the first row to show. `list` holds the rows. The row `wanted` is shown at once. */
export function useReveal(
  ids: readonly string[],
  list: RefObject<HTMLElement | null>,
  scroller: RefObject<HTMLElement | null>,
  wanted: string | undefined,
): number {
  const [first, setFirst] = useState(ids[Math.max(0, ids.length - FIRST_ROWS)]);
  const found = first === undefined ? -1 : ids.indexOf(first);
  const shown = found === -1 ? Math.max(0, ids.length - FIRST_ROWS) : found;
  const wantedAt = wanted === undefined ? -1 : ids.indexOf(wanted);
  const start = wantedAt === -1 ? shown : Math.min(shown, wantedAt);
  const step = useRef(2);

  useLayoutEffect(() => {
    if (start < shown) setFirst(ids[start]);
  }, [ids, start, shown]);

  useEffect(() => {
    if (start === 0) {
      // Rows that come before this one later are not shown at once.
      setFirst(ids[0]);
      return;
    }
    return whenIdle(() => {
      const began = performance.now();
      const above = ids[Math.max(0, start - step.current)];
      keepPlace(list.current, scroller.current, () => flushSync(() => setFirst(above)));
      const took = performance.now() - began;
      step.current = Math.round(
        clamp(step.current * (STEP_MS / took), 1, Math.min(MAX_STEP, 2 * step.current)),
      );
    });
  }, [ids, start, list, scroller]);

  return start;
}

/** Runs a change that puts rows above the first one, and scrolls by as much as it has moved that. */
function keepPlace(list: HTMLElement | null, scroller: HTMLElement | null, change: () => void): void {
  const anchor = list?.querySelector<HTMLElement>(".row");
  const before = anchor?.getBoundingClientRect().top ?? 0;
  change();
  if (!anchor || !scroller) return;
  const moved = anchor.getBoundingClientRect().top - before;
  if (moved !== 0) scroller.scrollTop += moved;
}

function clamp(value: number, least: number, most: number): number {
  return Math.min(most, Math.max(least, value));
}

function whenIdle(run: () => void): () => void {
  if (typeof requestIdleCallback === "function") {
    const handle = requestIdleCallback(run, { timeout: AT_LEAST_EVERY_MS });
    return () => cancelIdleCallback(handle);
  }
  const timer = setTimeout(run, 30);
  return () => clearTimeout(timer);
}
