/**
 * Work that can wait, done in small slices between frames, so that no task is long: drawing what is far from view,
 * formulas, the colours of code. All chats on a page share the queues.
 */
import { flushSync } from "react-dom";

/** How long a slice should last. One piece of work is never interrupted. */
const LATER_MS = 16;
/** What is in view is laid out and painted in the same frame. */
const SOON_MS = 8;
/** A busy page still gets a slice this often. */
const AT_LEAST_EVERY_MS = 200;
/** How many characters may be drawn at once, per frame, without waiting for a slice... */
const AT_ONCE = 2048;
/** ...not counting texts as short as this. */
const SHORT = 512;

type Work = () => void;

const soonQueue = new Set<Work>();
const laterQueue = new Set<Work>();
let soonScheduled = false;
let laterScheduled = false;

/** Does the work in a quiet moment. Returns a function that takes it back. */
export function later(work: Work): () => void {
  laterQueue.add(work);
  schedule();
  return () => laterQueue.delete(work);
}

/** Does the work before all that waits for a quiet moment, for what is in view. */
export function soon(work: Work): () => void {
  soonQueue.add(work);
  schedule();
  return () => soonQueue.delete(work);
}

/** Does the work before all that waits, for what decides what is in view. */
export function next(work: Work): () => void {
  const waiting = [...soonQueue];
  soonQueue.clear();
  const takeBack = soon(work);
  for (const other of waiting) soonQueue.add(other);
  return takeBack;
}

function schedule(): void {
  if (soonQueue.size > 0 && !soonScheduled) {
    soonScheduled = true;
    setTimeout(() => {
      soonScheduled = false;
      slice(soonQueue, SOON_MS);
    }, 0);
  }
  if (laterQueue.size > 0 && !laterScheduled) {
    laterScheduled = true;
    const run = () => {
      laterScheduled = false;
      slice(laterQueue, LATER_MS);
    };
    if (typeof requestIdleCallback === "function") requestIdleCallback(run, { timeout: AT_LEAST_EVERY_MS });
    else setTimeout(run, 16);
  }
}

/** Draws at once what each piece of work changes: gathered, the changes would be drawn in one long task. */
function slice(queue: Set<Work>, lengthMs: number): void {
  const end = performance.now() + lengthMs;
  for (const work of queue) {
    const began = performance.now();
    queue.delete(work);
    flushSync(work);
    const now = performance.now();
    // The next piece probably takes as long as this one.
    if (now + (now - began) > end) break;
  }
  schedule();
}

/** The browser has not compiled the code yet when the first texts are drawn, and takes ten times as long for them. */
const MORE_EACH_FRAME = 512;

let atOnce = 0;
let left = 0;
let refills = false;

/** Whether so many characters may be drawn in this frame without waiting. */
export function mayDrawAtOnce(size: number): boolean {
  if (size <= SHORT) return true;
  if (!refills) {
    refills = true;
    setTimeout(refill, 16);
  }
  if (size > left) return false;
  left -= size;
  return true;
}

function refill(): void {
  refills = false;
  atOnce = Math.min(AT_ONCE, atOnce + MORE_EACH_FRAME);
  left = atOnce;
}
