/** The tasks of the page's main thread, from Chromium's own trace. */
import type { Browser, Page } from "playwright-core";

const CATEGORIES = ["toplevel", "devtools.timeline"];
const TASKS = ["RunTask", "ThreadControllerImpl::RunTask"];
/** A longer task delays what a person does. */
export const LONG_MS = 50;
/** Parts of a task that are named. */
const MAX_PARTS = 3;

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  /** In microseconds. */
  ts: number;
  dur?: number;
  /** Of `dur`, how long the thread had a processor. */
  tdur?: number;
  args?: { name?: string; data?: { functionName?: string } };
}

export interface TaskTimes {
  longestMs: number;
  /** The most processor time of one task: what it takes on a machine that does nothing else. */
  longestCpuMs: number;
  /** Tasks over `LONG_MS`. */
  long: number;
  /** All tasks together. */
  busyMs: number;
  /** What the longest task did, as in `Layout 31 ms`. */
  parts: string;
}

/** Does something on a page, and measures the tasks meanwhile. */
export async function traced(browser: Browser, page: Page, act: () => Promise<void>): Promise<TaskTimes> {
  await browser.startTracing(page, { categories: CATEGORIES });
  const acted = await act().then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  // Without its end a trace blocks the next one.
  const recorded = await browser.stopTracing();
  if (acted) throw acted.error;
  const { traceEvents } = JSON.parse(recorded.toString()) as { traceEvents: TraceEvent[] };
  return taskTimes(traceEvents);
}

function taskTimes(events: readonly TraceEvent[]): TaskTimes {
  const threads = events.filter(
    ({ name, args }) => name === "thread_name" && args?.name === "CrRendererMain",
  );
  const all = threads.map(({ pid, tid }) => events.filter((event) => event.pid === pid && event.tid === tid));
  // Chromium keeps a spare renderer; it does next to nothing.
  const [busiest = []] = all.sort((a, b) => sum(tasks(b)) - sum(tasks(a)));
  const durations = tasks(busiest);
  const longest = durations.reduce<TraceEvent | undefined>(
    (found, task) => (ms(task) > ms(found) ? task : found),
    undefined,
  );
  return {
    longestMs: ms(longest),
    longestCpuMs: Math.max(0, ...durations.map(({ tdur = 0 }) => tdur / 1000)),
    long: durations.filter((task) => ms(task) > LONG_MS).length,
    busyMs: sum(durations),
    parts: longest ? partsOf(longest, busiest) : "",
  };
}

/** The outermost tasks, by the name that this Chromium gives them. */
function tasks(events: readonly TraceEvent[]): TraceEvent[] {
  const whole = events.filter(({ ph, dur }) => ph === "X" && dur !== undefined);
  const name = TASKS.find((name) => whole.some((event) => event.name === name));
  return whole.filter((event) => event.name === name);
}

function partsOf(task: TraceEvent, events: readonly TraceEvent[]): string {
  const end = task.ts + (task.dur ?? 0);
  const inside = events.filter(
    ({ ph, ts, dur = 0, name }) => ph === "X" && ts >= task.ts && ts + dur <= end && !TASKS.includes(name),
  );
  const times = new Map<string, number>();
  for (const event of inside) {
    const name = event.args?.data?.functionName || event.name;
    times.set(name, Math.max(times.get(name) ?? 0, ms(event)));
  }
  const largest = [...times].sort(([, a], [, b]) => b - a).slice(0, MAX_PARTS);
  return largest.map(([name, part]) => `${name} ${part.toFixed(0)} ms`).join(", ");
}

function sum(events: readonly TraceEvent[]): number {
  return events.reduce((total, event) => total + ms(event), 0);
}

function ms(event: TraceEvent | undefined): number {
  return (event?.dur ?? 0) / 1000;
}
