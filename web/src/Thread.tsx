/**
 * The conversation, turn by turn. What the model wrote is shown as plain text and never read as anything else.
 */
import { memo } from "react";
import { AnswerText } from "./AnswerText";
import type { Chat, Failure, Turn } from "./chat";
import { type Text, useText } from "./text";

interface ThreadProps {
  chat: Chat;
  linkOpen: boolean;
  onRetry: (id: number) => void;
}

export function Thread({ chat, linkOpen, onRetry }: ThreadProps) {
  const text = useText();
  return (
    <div className="thread" role="log" aria-live="off" aria-label={text.conversation}>
      {chat.items.length === 0 && (
        <div className="welcome">
          <p className="welcome-title">{text.welcome}</p>
          <p>{text.welcomeNote}</p>
        </div>
      )}
      {chat.items.map((item) =>
        item.kind === "turn" ? (
          <TurnView key={item.id} turn={item} linkOpen={linkOpen} onRetry={onRetry} />
        ) : (
          <p key={item.id} className="break" data-reason={item.reason}>
            <span>{item.reason === "stopped" ? text.breakStopped : text.breakLost}</span>
          </p>
        ),
      )}
    </div>
  );
}

interface TurnProps {
  turn: Turn;
  linkOpen: boolean;
  onRetry: (id: number) => void;
}

const TurnView = memo(function TurnView({ turn, linkOpen, onRetry }: TurnProps) {
  const text = useText();
  const { state } = turn;
  return (
    <article className="turn" data-state={state.name}>
      <div className="question" dir="auto">
        <span className="visually-hidden">{text.you}</span>
        {turn.question}
      </div>
      {state.name === "waiting" ? (
        <p className="note waiting-note">{linkOpen ? text.waitingForAnswer : text.waitingForConnection}</p>
      ) : (
        <div className="reply">
          <span className="visually-hidden">{text.model}</span>
          {turn.answer !== "" && <AnswerText answer={turn.answer} />}
          {state.name === "answering" && turn.answer === "" && (
            <p className="dots" aria-label={text.thinking} role="img">
              <i />
              <i />
              <i />
            </p>
          )}
          {state.name === "done" && turn.answer === "" && <p className="note">{text.emptyAnswer}</p>}
          {state.name === "stopped" && <p className="note">{text.stopped}</p>}
          {state.name === "failed" && (
            <div className="failure">
              <p>
                <strong>{turn.answer === "" ? text.unanswered : text.incomplete}</strong>{" "}
                <span dir="auto">{failureText(state.failure, text)}</span>
              </p>
              <button type="button" className="quiet" onClick={() => onRetry(turn.id)}>
                {text.retry}
              </button>
            </div>
          )}
        </div>
      )}
    </article>
  );
});

function failureText(failure: Failure, text: Text): string {
  switch (failure.name) {
    case "server":
      return failure.message;
    case "lost":
      return text.failureLost;
    case "too_long":
      return text.failureTooLong;
  }
}
