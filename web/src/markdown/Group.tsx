/**
 * Some sections of an answer. A group that is out of view is not laid out, and the browser looks at groups, not at
 * sections, when it draws a frame.
 */
import { memo, type RefObject, useCallback, useMemo, useRef, useState } from "react";
import type { Group, MarkdownDocument } from "./document";
import { estimate } from "./estimate";
import { SectionView } from "./Section";

interface GroupViewProps {
  group: Group;
  document: MarkdownDocument;
  /** The definitions that its blocks use, so that it is drawn again when one comes. */
  definitions: string;
  /** The group is the one that still grows. */
  growing: boolean;
}

export const GroupView = memo(function GroupView({ group, document, definitions, growing }: GroupViewProps) {
  const { sections } = group;
  const element = useRef<HTMLDivElement>(null);
  const [near, wait] = useNear(element);
  const style = useMemo(
    () =>
      growing
        ? undefined
        : { containIntrinsicBlockSize: `auto ${estimate(sections.flatMap(({ blocks }) => blocks))}` },
    [growing, sections],
  );
  return (
    <div className="sections" ref={element} style={style}>
      {sections.map((section, at) => (
        <SectionView
          key={section.at}
          section={section}
          document={document}
          definitions={definitions}
          growing={growing && at === sections.length - 1}
          near={near}
          wait={wait}
        />
      ))}
    </div>
  );
});

/** How far from the view a group is drawn without waiting for a quiet moment. */
const NEAR_PX = 1200;

/** Whether the group has come near the view, which is looked at while something in it waits for that. */
function useNear(element: RefObject<HTMLDivElement | null>): [boolean, () => () => void] {
  const [near, setNear] = useState(false);
  const waiting = useRef(0);
  const observer = useRef<IntersectionObserver>(undefined);

  const wait = useCallback(() => {
    waiting.current += 1;
    if (waiting.current === 1 && element.current) {
      observer.current = new IntersectionObserver(
        (entries) => {
          if (entries.some(({ isIntersecting }) => isIntersecting)) setNear(true);
        },
        { rootMargin: `${NEAR_PX}px`, scrollMargin: `${NEAR_PX}px` } as IntersectionObserverInit,
      );
      observer.current.observe(element.current);
    }
    return () => {
      waiting.current -= 1;
      if (waiting.current === 0) observer.current?.disconnect();
    };
  }, [element]);

  return [near, wait];
}
