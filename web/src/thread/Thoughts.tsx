/** A model's thoughts: open while it thinks, closed once it writes, and as the person left them after that. */
import { Brain, ChevronRight } from "lucide-react";
import { useId, useState } from "react";
import { usePage } from "../app/context";
import { duration } from "../app/errorWords";
import { useLanguage, useWords } from "../app/words";
import type { Answer } from "../client";
import { Markdown } from "../markdown/Markdown";
import { thoughtShareMs } from "./facts";
import { useThreadEnd, useTicks } from "./useAnswer";
import { words } from "./words";

export function Thoughts({ answer }: { answer: Answer }) {
  const text = useWords(words);
  const id = useId();
  const thinks = answer.status === "running" && answer.text === "";
  const { isAtEnd } = useThreadEnd();
  const [chosen, setChosen] = useState<boolean>();
  const [thought, setThought] = useState(thinks);
  if (thought !== thinks) {
    setThought(thinks);
    // Whoever still reads them, above the end, must not lose the place.
    if (!thinks && !isAtEnd()) setChosen(true);
  }
  const isOpen = chosen ?? thinks;
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms, and a section of each answer a landmark too many.
    <div className="thoughts" role="group" aria-label={text.thoughts} data-thinks={thinks}>
      <button
        type="button"
        className="thoughts-head"
        aria-expanded={isOpen}
        aria-controls={id}
        onClick={() => setChosen(!isOpen)}
      >
        <Brain />
        <span>
          <ThinkingTime answer={answer} thinks={thinks} />
        </span>
        <ChevronRight className="thoughts-arrow" />
      </button>
      <div id={id} className="thoughts-body" hidden={!isOpen}>
        {isOpen && <Markdown text={answer.reasoning} running={thinks} />}
      </div>
    </div>
  );
}

function ThinkingTime({ answer, thinks }: { answer: Answer; thinks: boolean }) {
  const text = useWords(words);
  const language = useLanguage();
  const { clock } = usePage();
  useTicks(thinks);
  const measured = clock.thoughtMs(answer.id);
  if (thinks) return measured === undefined ? text.thinking : text.thinkingFor(whole(measured));
  if (measured !== undefined) return text.thoughtFor(whole(measured));
  const share = thoughtShareMs(answer);
  return share === undefined ? text.thoughts : text.thoughtForAbout(whole(share));

  function whole(ms: number): string {
    return duration(Math.round(ms / 1000), language);
  }
}
