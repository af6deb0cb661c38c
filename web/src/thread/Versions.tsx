/** The arrows between the versions of a message. */
import { ChevronLeft, ChevronRight } from "lucide-react";
import type { MouseEvent } from "react";
import { flushSync } from "react-dom";
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
  const show = ({ currentTarget }: MouseEvent<HTMLElement>, message: string | undefined) => {
    if (message === undefined) return;
    const chat = currentTarget.closest(".corral");
    flushSync(() => page.showBranch(conversation, message));
    focusArrow(chat, message, currentTarget.dataset.arrow);
  };
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    <div className="versions" role="group" aria-label={text.versions}>
      <IconButton
        label={text.previous}
        data-arrow="previous"
        disabled={previous === undefined}
        onClick={(event) => show(event, previous)}
      >
        <ChevronLeft />
      </IconButton>
      <span>{text.place(number, count)}</span>
      <IconButton
        label={text.next}
        data-arrow="next"
        disabled={next === undefined}
        onClick={(event) => show(event, next)}
      >
        <ChevronRight />
      </IconButton>
    </div>
  );
}

/** The other version has arrows of its own: the focus goes to the same one, or at the end to the way back. */
function focusArrow(chat: Element | null, message: string, arrow = ""): void {
  const row = chat?.querySelector(`[data-message="${CSS.escape(message)}"]`);
  const buttons = [...(row?.querySelectorAll<HTMLButtonElement>(".versions button") ?? [])];
  const arrows = buttons.filter(({ disabled }) => !disabled);
  (arrows.find(({ dataset }) => dataset.arrow === arrow) ?? arrows[0])?.focus({ preventScroll: true });
}
