/**
 * The input. Enter sends unless an input method is composing; nothing ever disables typing.
 */
import { type KeyboardEvent, type RefObject, useLayoutEffect, useRef } from "react";
import { useText } from "./text";

/** Safari reports the Enter that ends a composition after the composition's end. */
const COMPOSITION_GRACE_MS = 50;

interface ComposerProps {
  input: RefObject<HTMLTextAreaElement | null>;
  draft: string;
  onDraft: (draft: string) => void;
  onSend: () => void;
  /** `null` while there is nothing to stop. */
  onStop: (() => void) | null;
}

export function Composer({ input, draft, onDraft, onSend, onStop }: ComposerProps) {
  const text = useText();
  const composedAt = useRef(Number.NEGATIVE_INFINITY);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the draft.
  useLayoutEffect(() => {
    if (!input.current) return;
    input.current.style.height = "auto";
    input.current.style.height = `${input.current.scrollHeight}px`;
  }, [draft, input]);

  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const { isComposing, keyCode, timeStamp } = event.nativeEvent;
    if (isComposing || keyCode === 229 || timeStamp - composedAt.current < COMPOSITION_GRACE_MS) return;
    if (event.key === "Escape") onStop?.();
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    onSend();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        onSend();
        input.current?.focus();
      }}
    >
      <textarea
        ref={input}
        rows={1}
        dir="auto"
        autoComplete="off"
        enterKeyHint="send"
        aria-label={text.message}
        placeholder={text.placeholder}
        value={draft}
        onChange={(event) => onDraft(event.target.value)}
        onKeyDown={onKeyDown}
        onCompositionEnd={(event) => {
          composedAt.current = event.nativeEvent.timeStamp;
        }}
      />
      <div className="actions">
        <span className="hint">{text.keys}</span>
        {onStop && (
          <button type="button" className="quiet stop" onClick={onStop}>
            {text.stop}
          </button>
        )}
        <button type="submit" className="primary" disabled={draft.trim() === ""}>
          {text.send}
        </button>
      </div>
    </form>
  );
}
