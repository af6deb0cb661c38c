/** One answer: its thoughts, its text, what it waits for or how it ended, and what can be done with it. */
import { RotateCcw } from "lucide-react";
import type { MouseEvent, MouseEventHandler } from "react";
import { usePage } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import { isFinal, type Message } from "../client";
import { Markdown } from "../markdown/Markdown";
import { CopyButton } from "../ui/CopyButton";
import { IconButton } from "../ui/IconButton";
import { EndNote } from "./EndNote";
import { endOf } from "./end";
import { clockTime, facts } from "./facts";
import { focusComposer } from "./focus";
import type { Place } from "./rows";
import { StageLine } from "./StageLine";
import { Thoughts } from "./Thoughts";
import { useAnswer, useBusy, useThreadEnd } from "./useAnswer";
import { Versions } from "./Versions";
import { words } from "./words";

interface AnswerViewProps {
  conversation: string;
  message: Message;
  place: Place;
}

export function AnswerView({ conversation, message, place }: AnswerViewProps) {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const { toEnd } = useThreadEnd();
  const answer = useAnswer(message.id);
  // Its question says that it waits.
  if (!answer || answer.status === "waiting") return null;
  const end = endOf(answer);
  // The pressed button goes while the answer runs, and the focus must not go with it.
  const retry = ({ currentTarget }: MouseEvent<HTMLElement>) => {
    focusComposer(currentTarget);
    void page.messages.regenerate(conversation, answer.id);
    toEnd();
  };
  const goOn = ({ currentTarget }: MouseEvent<HTMLElement>) => {
    focusComposer(currentTarget);
    void page.messages.continue(answer.id);
  };
  return (
    <>
      <span className="visually-hidden">{text.model}</span>
      {answer.reasoning !== "" && <Thoughts answer={answer} />}
      {answer.text !== "" && <Markdown text={answer.text} running={answer.status === "running"} />}
      {!isFinal(answer.status) && <StageLine answer={answer} />}
      {end && <EndNote end={end} onContinue={goOn} onRetry={retry} />}
      {isFinal(answer.status) && (
        // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
        <div className="actions" role="group" aria-label={text.actions}>
          <Versions conversation={conversation} place={place} />
          {answer.text !== "" && <CopyButton label={text.copy} text={() => answer.text} />}
          <RegenerateButton onClick={retry} />
          <p className="facts">
            {[...facts(answer, text, language), clockTime(message.created_ms, language)].map((fact) => (
              <span key={fact}>{fact}</span>
            ))}
          </p>
        </div>
      )}
    </>
  );
}

/** Alone in listening to whether an answer runs: the others are not drawn again for it. */
function RegenerateButton({ onClick }: { onClick: MouseEventHandler<HTMLElement> }) {
  const text = useWords(words);
  const busy = useBusy();
  if (busy) return null;
  return (
    <IconButton label={text.regenerate} onClick={onClick}>
      <RotateCcw />
    </IconButton>
  );
}
