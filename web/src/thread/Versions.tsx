/** The arrows between the versions of a message. */
import { ChevronLeft, ChevronRight } from "lucide-react";
import { usePage } from "../app/context";
import { useWords } from "../app/words";
import { IconButton } from "../ui/IconButton";
import type { Place } from "./rows";
import { words } from "./words";

export function Versions({ conversation, place }: { conversation: string; place: Place }) {
  const text = useWords(words);
  const page = usePage();
  const { number, count, previous, next } = place;
  if (count < 2) return null;
  const show = (message: string | undefined) =>
    message !== undefined && page.showBranch(conversation, message);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    <div className="versions" role="group" aria-label={text.versions}>
      <IconButton label={text.previous} disabled={previous === undefined} onClick={() => show(previous)}>
        <ChevronLeft />
      </IconButton>
      <span>{text.place(number, count)}</span>
      <IconButton label={text.next} disabled={next === undefined} onClick={() => show(next)}>
        <ChevronRight />
      </IconButton>
    </div>
  );
}
