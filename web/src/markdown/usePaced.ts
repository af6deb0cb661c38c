/**
 * The text to show while it grows: the newest one, at most once per frame, and less often when showing it takes long.
 */
import { useEffect, useRef, useState } from "react";

/** Showing may take up to one part in so many of the time. */
const SHARE = 4;

export function usePaced(text: string, running: boolean): string {
  const [shown, show] = useState(text);
  const next = useRef(text);
  const began = useRef(0);
  const cost = useRef(0);
  const frame = useRef<number>(undefined);

  useEffect(() => {
    if (began.current > 0) cost.current = performance.now() - began.current;
    began.current = 0;
  });

  useEffect(() => {
    next.current = text;
    if (!running || frame.current !== undefined) return;
    const notBefore = performance.now() + cost.current * (SHARE - 1);
    const onFrame = (now: number) => {
      if (now < notBefore) {
        frame.current = requestAnimationFrame(onFrame);
        return;
      }
      frame.current = undefined;
      began.current = performance.now();
      show(next.current);
    };
    frame.current = requestAnimationFrame(onFrame);
  }, [text, running]);

  useEffect(
    () => () => {
      if (frame.current !== undefined) cancelAnimationFrame(frame.current);
      frame.current = undefined;
    },
    [],
  );

  return running ? shown : text;
}
