/**
 * Keeps the newest text in view for a reader who is at the end, and leaves alone a reader who has scrolled up.
 */
import { type RefObject, useCallback, useEffect, useRef, useState } from "react";

/** Closer to the end than this counts as reading the end. */
const NEAR_BOTTOM_PX = 32;

interface StickToBottom {
  scroller: RefObject<HTMLElement | null>;
  content: RefObject<HTMLDivElement | null>;
  atBottom: boolean;
  toBottom: () => void;
}

export function useStickToBottom(): StickToBottom {
  const scroller = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const [atBottom, setAtBottom] = useState(true);

  const toBottom = useCallback(() => {
    stuck.current = true;
    setAtBottom(true);
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  }, []);

  useEffect(() => {
    const element = scroller.current;
    if (!element || !content.current) return;
    let lastTop = element.scrollTop;

    const onScroll = () => {
      const movedUp = element.scrollTop < lastTop;
      const distance = element.scrollHeight - element.clientHeight - element.scrollTop;
      lastTop = element.scrollTop;
      if (distance <= NEAR_BOTTOM_PX) stuck.current = !movedUp || distance <= 1;
      else if (movedUp) stuck.current = false;
      setAtBottom(stuck.current || distance <= NEAR_BOTTOM_PX);
    };
    const resized = new ResizeObserver(() => {
      if (stuck.current) element.scrollTo({ top: element.scrollHeight });
    });

    element.addEventListener("scroll", onScroll, { passive: true });
    resized.observe(element);
    resized.observe(content.current);
    return () => {
      element.removeEventListener("scroll", onScroll);
      resized.disconnect();
    };
  }, []);

  return { scroller, content, atBottom, toBottom };
}
