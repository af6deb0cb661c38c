/** How an answer ended, below its text, with what can be done. An error stands beside the text, never in its place. */
import { errorWords } from "../app/errorWords";
import { useLanguage, useWords } from "../app/words";
import type { End } from "./end";
import { useBusy } from "./useAnswer";
import { words } from "./words";

interface EndNoteProps {
  end: End;
  onContinue: () => void;
  onRetry: () => void;
}

export function EndNote({ end, onContinue, onRetry }: EndNoteProps) {
  const text = useWords(words);
  const language = useLanguage();
  const busy = useBusy();
  const failed = end.problem && errorWords(end.problem, language);
  return (
    <div className="end" data-end={end.name} data-failed={failed !== undefined}>
      <p className="end-text">
        {failed ? (
          <>
            <strong>{failed.says}</strong> {failed.todo}
          </>
        ) : (
          end.name !== "failed" && text.ends[end.name]
        )}
      </p>
      {!busy && (
        <div className="end-actions">
          {end.continues && (
            <button type="button" className="button" onClick={onContinue}>
              {text.continue}
            </button>
          )}
          {(!end.continues || failed) && (
            <button type="button" className="button" onClick={onRetry}>
              {text.tryAgain}
            </button>
          )}
        </div>
      )}
    </div>
  );
}
