/** How an answer ended, below its text, with what can be done. An error stands beside the text, never in its place. */
import type { MouseEventHandler } from "react";
import { useWords } from "../app/words";
import { ErrorText } from "./ErrorText";
import type { End } from "./end";
import { useBusy } from "./useAnswer";
import { words } from "./words";

interface EndNoteProps {
  end: End;
  onContinue: MouseEventHandler<HTMLElement>;
  onRetry: MouseEventHandler<HTMLElement>;
}

export function EndNote({ end, onContinue, onRetry }: EndNoteProps) {
  const text = useWords(words);
  const busy = useBusy();
  const { problem } = end;
  return (
    <div className="end" data-end={end.name} data-failed={problem !== undefined}>
      {problem ? (
        <ErrorText error={problem} />
      ) : (
        <p className="end-text">{end.name !== "failed" && text.ends[end.name]}</p>
      )}
      {!busy && (
        <div className="end-actions">
          {end.continues && (
            <button type="button" className="button" onClick={onContinue}>
              {text.continue}
            </button>
          )}
          {(!end.continues || problem) && (
            <button type="button" className="button" onClick={onRetry}>
              {text.tryAgain}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
