/** A message that the server has not taken yet: on its way, kept until there is a connection, or refused. */
import type { MouseEvent } from "react";
import { usePage, usePageState } from "../app/context";
import type { Pending } from "../app/state";
import { useWords } from "../app/words";
import { Content } from "./Content";
import { ErrorText } from "./ErrorText";
import { focusComposer } from "./focus";
import { words } from "./words";

export function PendingQuestion({ pending }: { pending: Pending }) {
  const text = useWords(words);
  const isConnected = usePageState(({ chat }) => chat.link.name === "open");
  const { error, content, after } = pending;
  const state = error ? "refused" : isConnected ? "sending" : "unsent";
  return (
    <article className="row question" data-state={state}>
      <span className="visually-hidden">{text.you}</span>
      <Content content={content} />
      {state === "refused" ? (
        <Refused pending={pending} />
      ) : (
        <p className="waiting-note" data-late={state === "sending"}>
          {state === "unsent" ? text.unsent : after === undefined ? text.sending : text.waits}
        </p>
      )}
    </article>
  );
}

function Refused({ pending }: { pending: Pending }) {
  const text = useWords(words);
  const { outbox, messages } = usePage();
  if (!pending.error) return null;
  // The buttons go with what they do, and the focus must not go with them.
  const act = ({ currentTarget }: MouseEvent<HTMLElement>, what: () => void) => {
    focusComposer(currentTarget);
    what();
  };
  return (
    <div className="end" data-failed="true">
      <ErrorText error={pending.error} />
      <div className="end-actions">
        <button
          type="button"
          className="button"
          onClick={(event) => act(event, () => outbox.retry(pending.id))}
        >
          {text.tryAgain}
        </button>
        <button
          type="button"
          className="button"
          onClick={(event) => act(event, () => messages.takeBack(pending))}
        >
          {text.edit}
        </button>
        <button
          type="button"
          className="button"
          onClick={(event) => act(event, () => outbox.discard(pending.id))}
        >
          {text.discard}
        </button>
      </div>
    </div>
  );
}
