/**
 * Where a message is written: its field, its files, and what it costs. Nothing ever disables typing, and what is written
 * is kept until the server has it.
 */
import { ArrowUp, Square } from "lucide-react";
import {
  type ClipboardEvent,
  type KeyboardEvent,
  useCallback,
  useLayoutEffect,
  useRef,
  useState,
} from "react";
import { usePage, usePageState } from "../app/context";
import { runningAnswer } from "../app/page";
import { emptyDraft, NEW } from "../app/state";
import { useWords } from "../app/words";
import { IconButton } from "../ui/IconButton";
import { AddMenu } from "./AddMenu";
import { Attachments } from "./Attachments";
import { ContextMeter } from "./ContextMeter";
import { draftContent } from "./cost";
import { DropZone } from "./DropZone";
import { DraftFiles } from "./files";
import { fieldAction } from "./keys";
import { pastedFiles } from "./paste";
import { useChatKeys } from "./useChatKeys";
import { hasMouse, useFieldFocus } from "./useFieldFocus";
import { useMedia } from "./useMedia";
import { useObjection } from "./useObjection";
import { words } from "./words";

/** Safari reports the Enter that ends a composition after the composition's end. */
const COMPOSITION_GRACE_MS = 50;

export function Composer({ onSent }: { onSent: () => void }) {
  const text = useWords(words);
  const page = usePage();
  const draft = usePageState(({ drafts, open }) => drafts.get(open ?? NEW) ?? emptyDraft);
  const answering = usePageState((state) => runningAnswer(state) !== undefined);
  const touch = useMedia("(pointer: coarse)");
  const objection = useObjection(draft);
  const [draftFiles] = useState(() => new DraftFiles(page));
  const [form, setForm] = useState<HTMLFormElement | null>(null);
  const input = useRef<HTMLTextAreaElement>(null);
  const composedAt = useRef(Number.NEGATIVE_INFINITY);

  const stop = useCallback(() => {
    if (runningAnswer(page.store.getState()) === undefined) return false;
    page.stop();
    if (hasMouse()) input.current?.focus();
    return true;
  }, [page]);
  useChatKeys(input, stop);
  useFieldFocus(input);
  const addFiles = useCallback(
    (files: File[]) => {
      void draftFiles.add(files);
      if (hasMouse()) input.current?.focus();
    },
    [draftFiles],
  );

  const removeFile = useCallback(
    (id: string) => {
      draftFiles.remove(id);
      // Its button had the focus.
      if (hasMouse()) input.current?.focus();
    },
    [draftFiles],
  );

  // biome-ignore lint/correctness/useExhaustiveDependencies: the height follows the draft.
  useLayoutEffect(() => {
    if (!input.current) return;
    input.current.style.height = "auto";
    input.current.style.height = `${input.current.scrollHeight}px`;
  }, [draft.text]);

  const content = draftContent(draft);
  const isReading = draft.attachments.some(({ kind }) => kind === "reading");
  const canSend = content.length > 0 && !isReading && !objection?.blocks;
  const send = () => {
    if (!canSend) return;
    page.send({ content });
    page.drafts.set(emptyDraft);
    onSent();
    if (hasMouse()) input.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    if (event.nativeEvent.timeStamp - composedAt.current < COMPOSITION_GRACE_MS) return;
    const action = fieldAction(event.nativeEvent, { empty: draft.text === "", touch });
    if (action === "send") {
      event.preventDefault();
      send();
    } else if (action === "editLast" && page.editLast()) {
      event.preventDefault();
    }
  };
  const onPaste = (event: ClipboardEvent) => {
    const files = pastedFiles(event.clipboardData);
    if (files.length === 0) return;
    event.preventDefault();
    addFiles(files);
  };

  return (
    <form
      ref={setForm}
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <DropZone inside={form} onFiles={addFiles} />
      <Attachments attachments={draft.attachments} onRemove={removeFile} />
      <textarea
        ref={input}
        rows={1}
        dir="auto"
        autoComplete="off"
        enterKeyHint={touch ? "enter" : "send"}
        aria-label={text.message}
        placeholder={text.placeholder}
        value={draft.text}
        onChange={(event) => page.drafts.set({ ...draft, text: event.target.value })}
        onKeyDown={onKeyDown}
        onPaste={onPaste}
        onCompositionEnd={(event) => {
          composedAt.current = event.nativeEvent.timeStamp;
        }}
      />
      <p className="composer-objection" role="status" data-blocks={objection?.blocks}>
        {objection?.sentence}
      </p>
      <div className="composer-actions">
        <AddMenu onFiles={addFiles} />
        <Hint answering={answering} />
        <ContextMeter />
        {answering && (
          <IconButton label={text.stop} className="stop" onClick={stop}>
            <Square />
          </IconButton>
        )}
        <IconButton
          label={answering ? text.queue : text.send}
          type="submit"
          className="primary"
          disabled={!canSend}
        >
          <ArrowUp />
        </IconButton>
      </div>
    </form>
  );
}

/** What sending does now. */
function Hint({ answering }: { answering: boolean }) {
  const text = useWords(words);
  const isOnline = usePageState(({ chat }) => chat.link.name === "open");
  const isFirst = usePageState(({ chat }) => chat.welcome === undefined);
  if (!isOnline && !isFirst) return <span className="hint">{text.offline}</span>;
  if (answering) return <span className="hint hint-queues">{text.queues}</span>;
  return <span className="hint hint-keys">{text.keys}</span>;
}
