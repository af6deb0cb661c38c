/**
 * A model's answer as Markdown, while it is written and afterwards. A growing answer is drawn again once per frame at
 * most, and only its last block; a long one is drawn in slices.
 */
import { useState } from "react";
import { MarkdownDocument } from "./document";
import { SectionView } from "./Section";
import { usePaced } from "./usePaced";
import { usePortion } from "./usePortion";

interface MarkdownProps {
  text: string;
  /** More may come: the end may be half-written. */
  running: boolean;
}

export function Markdown({ text, running }: MarkdownProps) {
  const shown = usePortion(usePaced(text, running));
  const [document] = useState(() => new MarkdownDocument());
  const sections = document.read(shown);
  return (
    <div className="markdown" data-long={sections.length > 1 ? "" : undefined}>
      {sections.map((section, at) => (
        <SectionView
          key={section.at}
          section={section}
          document={document}
          definitions={document.definitionsOf(section)}
          growing={running && at === sections.length - 1}
        />
      ))}
    </div>
  );
}
