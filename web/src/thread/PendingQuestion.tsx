/** A message that the server has not taken yet: on its way, kept until there is a connection, or refused. */
import { usePage, usePageState } from "../app/context";
import { errorWords } from "../app/errorWords";
import type { Pending } from "../app/state";
import { useLanguage, useWords } from "../app/words";
import { Content } from "./Content";
import { words } from "./words";

export function PendingQuestion({ pending }: { pending: Pending }) {
  const text = useWords(words);
  const isConnected = usePageState(({ chat }) => chat.link.name === "open");
  const { error, content } = pending;
  const state = error ? "refused" : isConnected ? "sending" : "unsent";
  return (
    <article className="row question" data-state={state}>
      <span className="visually-hidden">{text.you}</span>
      <Content content={content} />
      {state === "refused" ? (
        <Refused pending={pending} />
      ) : (
        <p className="waiting-note" data-late={state === "sending"}>
          {state === "sending" ? text.sending : text.unsent}
        </p>
      )}
    </article>
  );
}

function Refused({ pending }: { pending: Pending }) {
  const text = useWords(words);
  const language = useLanguage();
  const { outbox, messages } = usePage();
  if (!pending.error) return null;
  const { says, todo } = errorWords(pending.error, language);
  return (
    <div className="end" data-failed="true">
      <p className="end-text">
        <strong>{says}</strong> {todo}
      </p>
      <div className="end-actions">
        <button type="button" className="button" onClick={() => outbox.retry(pending.id)}>
          {text.tryAgain}
        </button>
        <button type="button" className="button" onClick={() => messages.takeBack(pending)}>
          {text.edit}
        </button>
        <button type="button" className="button" onClick={() => outbox.discard(pending.id)}>
          {text.discard}
        </button>
      </div>
    </div>
  );
}
