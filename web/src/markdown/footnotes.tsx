/**
 * Footnotes stand where the text defines them, under the label that the text gives them. They are found inside the
 * same answer only, so that several answers may use the same labels, and they leave the page's address alone.
 */
import { CornerLeftUp } from "lucide-react";
import type { MouseEvent, ReactNode } from "react";
import { useWords } from "../app/words";
import { words } from "./words";

export function FootnoteReferenceButton({ label }: { label: string }) {
  const text = useWords(words);
  return (
    <sup>
      <button
        type="button"
        className="footnote-reference"
        data-footnote-reference={label.toLowerCase()}
        aria-label={text.footnote(label)}
        onClick={(event) => goTo(event, "footnote", label)}
      >
        {label}
      </button>
    </sup>
  );
}

interface FootnoteNoteProps {
  label: string;
  dir: "auto" | undefined;
  children: ReactNode;
}

export function FootnoteNote({ label, dir, children }: FootnoteNoteProps) {
  const text = useWords(words);
  return (
    <div className="footnote" data-footnote={label.toLowerCase()} tabIndex={-1} dir={dir}>
      <span className="footnote-label">{label}</span>
      <div className="footnote-text">{children}</div>
      <button
        type="button"
        className="icon-button footnote-back"
        aria-label={text.backToText}
        title={text.backToText}
        onClick={(event) => goTo(event, "footnote-reference", label)}
      >
        <CornerLeftUp />
      </button>
    </div>
  );
}

function goTo({ currentTarget }: MouseEvent<HTMLElement>, attribute: string, label: string): void {
  const answer = currentTarget.closest(".markdown");
  const found = answer?.querySelector<HTMLElement>(
    `[data-${attribute}="${CSS.escape(label.toLowerCase())}"]`,
  );
  found?.scrollIntoView({ block: "center" });
  found?.focus({ preventScroll: true });
}
