/**
 * A model's answer as Markdown, while it is written and afterwards. A growing answer is drawn again once per frame at
 * most, and only its last block; a long one is drawn in slices.
 */
import { useState } from "react";
import { MarkdownDocument } from "./document";
import { GroupView } from "./Group";
import { usePaced } from "./usePaced";
import { PORTION, usePortion } from "./usePortion";

interface MarkdownProps {
  text: string;
  /** More may come: the end may be half-written. */
  running: boolean;
}

export function Markdown({ text, running }: MarkdownProps) {
  const paced = usePaced(text, running);
  const shown = usePortion(paced);
  // What is far from the end of the text does not grow.
  const growing = running && paced.length - shown.length <= PORTION;
  const [document] = useState(() => new MarkdownDocument());
  const groups = document.read(shown);
  return (
    <div className="markdown">
      {groups.map((group, at) => (
        <GroupView
          key={group.at}
          group={group}
          document={document}
          definitions={document.definitionsOf(group)}
          growing={growing && at === groups.length - 1}
        />
      ))}
    </div>
  );
}
