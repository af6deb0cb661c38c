/**
 * Keeps the newest text in view for a reader who is at the end, and leaves alone a reader who has scrolled up. Another
 * text begins at its end; a new chat at its beginning, until something is sent.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useRef, useState } from "react";

/** Closer to the end than this counts as reading the end. */
const NEAR_BOTTOM_PX = 32;
/** For so long after a person's own movement the page's scrolling is theirs. */
const OWN_MS = 400;
const UPWARDS = ["ArrowUp", "PageUp", "Home"];

interface StickToBottom {
  scroller: RefObject<HTMLElement | null>;
  content: RefObject<HTMLDivElement | null>;
  atBottom: boolean;
  toBottom: () => void;
}

/** `shown` says which text it is. */
export function useStickToBottom(shown: string | undefined): StickToBottom {
  const scroller = useRef<HTMLElement>(null);
  const content = useRef<HTMLDivElement>(null);
  const stuck = useRef(true);
  const isNew = useRef(shown === undefined);
  const [atBottom, setAtBottom] = useState(true);

  const toBottom = useCallback(() => {
    stuck.current = true;
    isNew.current = false;
    setAtBottom(true);
    scroller.current?.scrollTo({ top: scroller.current.scrollHeight });
  }, []);

  useLayoutEffect(() => {
    toBottom();
    isNew.current = shown === undefined;
    if (isNew.current) scroller.current?.scrollTo({ top: 0 });
  }, [shown, toBottom]);

  useEffect(() => {
    const element = scroller.current;
    if (!element || !content.current) return;
    let lastTop = element.scrollTop;
    let lastHeight = element.scrollHeight;
    let ownUntil = 0;

    const own = () => {
      ownUntil = performance.now() + OWN_MS;
    };
    const onWheel = (event: WheelEvent) => event.deltaY < 0 && own();
    const onKey = (event: KeyboardEvent) => UPWARDS.includes(event.key) && own();
    const onScroll = () => {
      if (isNew.current) return;
      const { scrollTop, scrollHeight, clientHeight } = element;
      const movedUp = scrollTop < lastTop;
      const distance = scrollHeight - clientHeight - scrollTop;
      // Text that takes less room than was thought moves the place a little, too.
      const isOwn = performance.now() < ownUntil || scrollHeight === lastHeight || distance > clientHeight;
      lastTop = scrollTop;
      lastHeight = scrollHeight;
      if (distance <= NEAR_BOTTOM_PX) stuck.current = !movedUp || distance <= 1 || !isOwn;
      else if (movedUp && isOwn) stuck.current = false;
      setAtBottom(stuck.current || distance <= NEAR_BOTTOM_PX);
    };
    // Whoever unfolds something wants to see that, not the end.
    const onClick = (event: MouseEvent) => {
      if (event.target instanceof Element && event.target.closest("[aria-expanded]")) stuck.current = false;
    };
    const resized = new ResizeObserver(() => {
      if (isNew.current) return;
      const distance = element.scrollHeight - element.clientHeight - element.scrollTop;
      if (distance <= 1) stuck.current = true;
      if (stuck.current) element.scrollTo({ top: element.scrollHeight });
      else setAtBottom(distance <= NEAR_BOTTOM_PX);
    });

    element.addEventListener("scroll", onScroll, { passive: true });
    element.addEventListener("wheel", onWheel, { passive: true });
    element.addEventListener("touchmove", own, { passive: true });
    element.addEventListener("pointerdown", own, { passive: true });
    element.addEventListener("keydown", onKey);
    element.addEventListener("click", onClick);
    resized.observe(element);
    resized.observe(content.current);
    return () => {
      element.removeEventListener("scroll", onScroll);
      element.removeEventListener("wheel", onWheel);
      element.removeEventListener("touchmove", own);
      element.removeEventListener("pointerdown", own);
      element.removeEventListener("keydown", onKey);
      element.removeEventListener("click", onClick);
      resized.disconnect();
    };
  }, []);

  return { scroller, content, atBottom, toBottom };
}
