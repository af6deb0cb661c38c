/** One message of the person's: to be copied, edited and asked again, or changed while it still waits. */
import { Pencil } from "lucide-react";
import { type MouseEvent, useRef } from "react";
import { writtenText } from "../app/content";
import { usePage, usePageState } from "../app/context";
import { emptyDraft } from "../app/state";
import { useWords } from "../app/words";
import type { Message } from "../client";
import { CopyButton } from "../ui/CopyButton";
import { IconButton } from "../ui/IconButton";
import { Content } from "./Content";
import { Editor } from "./Editor";
import { withWritten } from "./edit";
import { focusComposer } from "./focus";
import type { Place } from "./rows";
import { useThreadEnd } from "./useAnswer";
import { Versions } from "./Versions";
import { words } from "./words";

interface QuestionProps {
  conversation: string;
  message: Message;
  place: Place;
  /** It waits behind another answer. */
  waits: boolean;
  isEdited: boolean;
}

export function Question({ conversation, message, place, waits, isEdited }: QuestionProps) {
  const text = useWords(words);
  const page = usePage();
  const content = message.content ?? [];
  const written = writtenText(content);
  if (isEdited) return <EditedQuestion message={message} waits={waits} />;
  return (
    <>
      <span className="visually-hidden">{text.you}</span>
      <Content content={content} />
      {waits ? (
        <WaitingActions message={message} />
      ) : (
        // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
        <div className="actions" role="group" aria-label={text.actions}>
          {written !== "" && <CopyButton label={text.copy} text={() => written} />}
          <IconButton label={text.edit} onClick={() => page.edit(message.id)}>
            <Pencil />
          </IconButton>
          <Versions conversation={conversation} place={place} />
        </div>
      )}
    </>
  );
}

function EditedQuestion({ message, waits }: { message: Message; waits: boolean }) {
  const text = useWords(words);
  const page = usePage();
  const { toEnd } = useThreadEnd();
  const form = useRef<HTMLDivElement>(null);
  const content = message.content ?? [];
  // Kept as other drafts are, until it is sent or given up: the person may look at another conversation meanwhile.
  const key = `edit ${message.id}`;
  const end = () => {
    page.drafts.set(emptyDraft, key);
    page.edit();
  };
  const submit = async (written: string) => {
    const edited = withWritten(content, written);
    if (waits) {
      // What was written stays when it is too late.
      if (!(await page.messages.editQueued(message.id, edited))) return;
      if (form.current) focusComposer(form.current);
      end();
      return;
    }
    if (form.current) focusComposer(form.current);
    end();
    page.messages.rerun(message, edited);
    toEnd();
  };
  return (
    <div className="edited" ref={form}>
      <Editor
        initial={page.drafts.get(key).text || writtenText(content)}
        mayBeEmpty={withWritten(content, "").length > 0}
        submit={waits ? text.save : text.send}
        onWrite={(text) => page.drafts.set({ text, attachments: [] }, key)}
        onSubmit={(written) => void submit(written)}
        onCancel={end}
      />
    </div>
  );
}

/** What can be done while it waits behind another answer. */
function WaitingActions({ message }: { message: Message }) {
  const text = useWords(words);
  const page = usePage();
  // The one behind the running answer begins when that is stopped; others do not.
  const isFirst = usePageState(({ chat }) => chat.answers.get(message.parent ?? "")?.status !== "waiting");
  const sendNow = ({ currentTarget }: MouseEvent<HTMLElement>) => {
    focusComposer(currentTarget);
    page.stop();
  };
  const remove = ({ currentTarget }: MouseEvent<HTMLElement>) => {
    focusComposer(currentTarget);
    void page.messages.dropQueued(message.id);
  };
  return (
    <div className="waiting">
      <span className="waiting-note">{text.waits}</span>
      {isFirst && (
        <button type="button" className="link-button" title={text.sendNowHint} onClick={sendNow}>
          {text.sendNow}
        </button>
      )}
      <button type="button" className="link-button" onClick={() => page.edit(message.id)}>
        {text.edit}
      </button>
      <button type="button" className="link-button" onClick={remove}>
        {text.remove}
      </button>
    </div>
  );
}
