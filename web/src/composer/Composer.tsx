/**
 * Where a message is written. Enter sends unless an input method is composing; nothing ever disables typing.
 */
import { ArrowUp, Square } from "lucide-react";
import { type KeyboardEvent, useLayoutEffect, useRef } from "react";
import { usePage, usePageState } from "../app/context";
import { isAnswering } from "../app/outbox";
import { emptyDraft, NEW } from "../app/state";
import { useWords } from "../app/words";
import { IconButton } from "../ui/IconButton";
import { words } from "./words";

/** Safari reports the Enter that ends a composition after the composition's end. */
const COMPOSITION_GRACE_MS = 50;

export function Composer({ onSent }: { onSent: () => void }) {
  const text = useWords(words);
  const page = usePage();
  const draft = usePageState(({ drafts, open }) => drafts.get(open ?? NEW) ?? emptyDraft);
  const answering = usePageState((state) => isAnswering(state, state.open));
  const input = useRef<HTMLTextAreaElement>(null);
  const composedAt = useRef(Number.NEGATIVE_INFINITY);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the draft.
  useLayoutEffect(() => {
    if (!input.current) return;
    input.current.style.height = "auto";
    input.current.style.height = `${input.current.scrollHeight}px`;
  }, [draft.text]);

  const send = () => {
    if (draft.text.trim() === "") return;
    page.send({ content: [{ type: "text", text: draft.text }] });
    page.setDraft(emptyDraft);
    onSent();
    input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    const { isComposing, keyCode, timeStamp } = event.nativeEvent;
    if (isComposing || keyCode === 229 || timeStamp - composedAt.current < COMPOSITION_GRACE_MS) return;
    if (event.key !== "Enter" || event.shiftKey) return;
    event.preventDefault();
    send();
  };

  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
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
        value={draft.text}
        onChange={(event) => page.setDraft({ ...draft, text: event.target.value })}
        onKeyDown={onKeyDown}
        onCompositionEnd={(event) => {
          composedAt.current = event.nativeEvent.timeStamp;
        }}
      />
      <div className="composer-actions">
        <span className="hint">{text.keys}</span>
        {answering && (
          <IconButton label={text.stop} className="stop" onClick={page.stop}>
            <Square />
          </IconButton>
        )}
        <IconButton label={text.send} type="submit" className="primary" disabled={draft.text.trim() === ""}>
          <ArrowUp />
        </IconButton>
      </div>
    </form>
  );
}
