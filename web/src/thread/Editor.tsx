/** Edits a message in its place. Enter sends, Shift+Enter starts a new line, Escape cancels; never while composing. */
import { type KeyboardEvent, useLayoutEffect, useRef, useState } from "react";
import { useWords } from "../app/words";
import { focusComposer } from "./focus";
import { words } from "./words";

/** Safari reports the Enter that ends a composition after the composition's end. */
const COMPOSITION_GRACE_MS = 50;

interface EditorProps {
  initial: string;
  /** It may be empty: the message has files or images. */
  mayBeEmpty: boolean;
  /** What the button says. */
  submit: string;
  /** Told what is written so far. */
  onWrite: (text: string) => void;
  onSubmit: (text: string) => void;
  onCancel: () => void;
}

export function Editor({ initial, mayBeEmpty, submit, onWrite, onSubmit, onCancel }: EditorProps) {
  const text = useWords(words);
  const [written, setWritten] = useState(initial);
  const input = useRef<HTMLTextAreaElement>(null);
  const composedAt = useRef(Number.NEGATIVE_INFINITY);
  const isReady = mayBeEmpty || written.trim() !== "";
  const cancel = () => {
    if (input.current) focusComposer(input.current);
    onCancel();
  };
  const send = () => {
    if (isReady) onSubmit(written);
  };

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the text.
  useLayoutEffect(() => {
    if (!input.current) return;
    input.current.style.height = "auto";
    input.current.style.height = `${input.current.scrollHeight}px`;
  }, [written]);

  useLayoutEffect(() => {
    const end = input.current?.value.length ?? 0;
    input.current?.focus({ preventScroll: true });
    input.current?.setSelectionRange(end, end);
    input.current?.form?.scrollIntoView({ block: "nearest" });
  }, []);

  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const { isComposing, keyCode, timeStamp } = event.nativeEvent;
    if (isComposing || keyCode === 229 || timeStamp - composedAt.current < COMPOSITION_GRACE_MS) return;
    if (event.key === "Escape") {
      // Elsewhere Escape stops the answer.
      event.preventDefault();
      event.stopPropagation();
      event.nativeEvent.stopImmediatePropagation();
      cancel();
    } else if (event.key === "Enter" && !event.shiftKey && !matchMedia("(pointer: coarse)").matches) {
      event.preventDefault();
      send();
    }
  };

  return (
    <form
      className="editor"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={input}
        dir="auto"
        rows={1}
        aria-label={text.editMessage}
        value={written}
        onChange={({ target }) => {
          setWritten(target.value);
          onWrite(target.value);
        }}
        onKeyDown={onKeyDown}
        onCompositionEnd={(event) => {
          composedAt.current = event.nativeEvent.timeStamp;
        }}
      />
      <div className="editor-actions">
        <span className="editor-keys">{text.editKeys}</span>
        <button type="button" className="button" onClick={cancel}>
          {text.cancel}
        </button>
        <button type="submit" className="button-primary" disabled={!isReady}>
          {submit}
        </button>
      </div>
    </form>
  );
}
