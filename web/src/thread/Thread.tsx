/** The branch of the open conversation that is shown. */

import { writtenText } from "../app/content";
import { usePageState } from "../app/context";
import { useWords } from "../app/words";
import { branch } from "../client";
import { Markdown } from "../markdown/Markdown";
import { words } from "./words";

export function Thread() {
  const text = useWords(words);
  const chat = usePageState(({ open, chat }) => (open === undefined ? undefined : chat.chats.get(open)));
  const leaf = usePageState(({ open, leaves }) => (open === undefined ? undefined : leaves.get(open)));
  const answers = usePageState(({ chat }) => chat.answers);
  const outbox = usePageState(({ open, outbox }) =>
    outbox.filter(({ conversation }) => conversation === open),
  );
  const messages = chat ? branch(chat, leaf) : [];
  if (messages.length === 0 && outbox.length === 0) {
    return (
      <div className="welcome">
        <p className="welcome-title">{text.welcome}</p>
        <p>{text.welcomeNote}</p>
      </div>
    );
  }
  return (
    <div className="thread" role="log" aria-label={text.conversation} aria-live="off">
      {messages.map((message) => {
        const answer = answers.get(message.id);
        return answer ? (
          <article key={message.id} className="answer" data-status={answer.status}>
            <Markdown text={answer.text} running={answer.status === "running"} />
          </article>
        ) : (
          <article key={message.id} className="question">
            {writtenText(message.content)}
          </article>
        );
      })}
      {outbox.map((pending) => (
        <article key={pending.id} className="question" data-state="pending">
          {writtenText(pending.content)}
        </article>
      ))}
    </div>
  );
}
