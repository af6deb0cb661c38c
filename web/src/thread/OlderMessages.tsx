/** Fetches older messages before the reader has reached the first one that is there. */
import { type RefObject, useEffect, useRef, useState } from "react";
import { usePage } from "../app/context";
import { useWords } from "../app/words";
import { words } from "./words";

/** So far before the top. */
const MARGIN = "1200px 0px 0px";

interface OlderMessagesProps {
  conversation: string;
  /** Where the page to fetch ends: another one is another page. */
  before: string;
  scroller: RefObject<HTMLElement | null>;
}

export function OlderMessages({ conversation, before, scroller }: OlderMessagesProps) {
  const text = useWords(words);
  const page = usePage();
  const mark = useRef<HTMLDivElement>(null);
  const [failed, setFailed] = useState(false);

  // biome-ignore lint/correctness/useExhaustiveDependencies: each page is waited for anew.
  useEffect(() => {
    if (!mark.current || failed) return;
    const seen = new IntersectionObserver(
      ([entry]) => {
        if (!entry?.isIntersecting) return;
        page.loadOlder(conversation).catch(() => setFailed(true));
      },
      { root: scroller.current, rootMargin: MARGIN },
    );
    seen.observe(mark.current);
    return () => seen.disconnect();
  }, [page, conversation, before, failed, scroller]);

  return (
    <div ref={mark} className="older">
      {failed ? (
        <>
          <span>{text.olderFailed}</span>
          <button type="button" className="link-button" onClick={() => setFailed(false)}>
            {text.tryAgain}
          </button>
        </>
      ) : (
        text.loadingOlder
      )}
    </div>
  );
}
