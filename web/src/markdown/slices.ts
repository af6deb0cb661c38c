/**
 * Work that can wait, done in small slices between frames, so that no task is long: mounting what is far from view,
 * drawing formulas, colouring code. All chats on a page share one queue.
 */

/** How long a slice may last. One piece of work is never interrupted. */
const SLICE_MS = 8;
/** A busy page still gets a slice this often. */
const AT_LEAST_EVERY_MS = 200;
/** How many characters may be drawn at once, per frame, without waiting for a slice. */
const AT_ONCE = 12_288;

type Work = () => void;

const queue = new Set<Work>();
let scheduled = false;

/** Does the work soon. Returns a function that takes it back. */
export function later(work: Work): () => void {
  queue.add(work);
  schedule();
  return () => queue.delete(work);
}

function schedule(): void {
  if (scheduled || queue.size === 0) return;
  scheduled = true;
  if (typeof requestIdleCallback === "function") requestIdleCallback(slice, { timeout: AT_LEAST_EVERY_MS });
  else setTimeout(slice, 16);
}

function slice(): void {
  scheduled = false;
  const end = performance.now() + SLICE_MS;
  for (const work of queue) {
    queue.delete(work);
    work();
    if (performance.now() >= end) break;
  }
  schedule();
}

let left = AT_ONCE;
let refills = false;

/** Whether so many characters may be drawn in this frame without waiting. */
export function mayDrawAtOnce(size: number): boolean {
  if (!refills) {
    refills = true;
    setTimeout(refill, 16);
  }
  if (left <= 0) return false;
  left -= size;
  return true;
}

function refill(): void {
  refills = false;
  left = AT_ONCE;
}
