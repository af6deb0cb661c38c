/** How a row reaches its answer: drawn again when the answer has changed, and only then. */
import { createContext, useContext, useEffect, useRef, useState } from "react";
import { useStore } from "zustand";
import { usePage } from "../app/context";
import type { Answer } from "../client";
import { equal } from "./equal";

export function useAnswer(id: string | undefined): Answer | undefined {
  const { store } = usePage();
  const shown = useRef<Answer | undefined>(undefined);
  return useStore(store, ({ chat }) => {
    const answer = id === undefined ? undefined : chat.answers.get(id);
    if (!equal(shown.current, answer)) shown.current = answer;
    return shown.current;
  });
}

/** Whether an answer of the conversation runs: then none of them can be asked for again. */
export const BusyContext = createContext(false);

export const useBusy = (): boolean => useContext(BusyContext);

/** The end of the thread: to scroll there and stay, and whether the reader is there. */
export interface ThreadEnd {
  toEnd: () => void;
  isAtEnd: () => boolean;
}

export const ThreadEndContext = createContext<ThreadEnd>({ toEnd: () => {}, isAtEnd: () => true });

export const useThreadEnd = (): ThreadEnd => useContext(ThreadEndContext);

/** Draws again every so often, as long as something is timed. */
export function useTicks(active: boolean, everyMs = 1000): void {
  const [, tick] = useState(0);
  useEffect(() => {
    if (!active) return;
    const timer = setInterval(() => tick((count) => count + 1), everyMs);
    return () => clearInterval(timer);
  }, [active, everyMs]);
}
