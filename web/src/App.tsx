/**
 * The page: header, thread, composer. Holds the draft, which nothing but sending empties.
 */
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Announcer } from "./Announcer";
import { Composer } from "./Composer";
import { answering } from "./chat";
import { LinkPill } from "./LinkPill";
import type { Session } from "./session";
import { Thread } from "./Thread";
import { useText } from "./text";
import { useStickToBottom } from "./useStickToBottom";

export function App({ session }: { session: Session }) {
  const text = useText();
  const { chat, link } = useSyncExternalStore(session.subscribe, session.snapshot);
  const [draft, setDraft] = useState("");
  const input = useRef<HTMLTextAreaElement>(null);
  const { scroller, content, atBottom, toBottom } = useStickToBottom();
  useEffect(() => session.start(), [session]);

  const ask = () => {
    if (draft.trim() === "") return;
    session.ask(draft);
    setDraft("");
    toBottom();
  };
  const stop = () => {
    session.stop();
    input.current?.focus();
  };
  const newChat = () => {
    session.reset();
    input.current?.focus();
  };

  return (
    <div className="page">
      <header className="bar">
        <h1 className="brand">Corral</h1>
        <LinkPill link={link} onReconnect={() => session.reconnectNow()} />
        <button type="button" className="quiet new-chat" onClick={newChat}>
          {text.newChat}
        </button>
      </header>
      <main className="scroller" ref={scroller}>
        <div ref={content}>
          <Thread chat={chat} linkOpen={link.name === "open"} onRetry={session.retry} />
        </div>
      </main>
      <footer className="dock">
        {!atBottom && (
          <button type="button" className="latest" aria-label={text.latest} onClick={toBottom}>
            <span aria-hidden="true">↓</span>
          </button>
        )}
        <Composer
          input={input}
          draft={draft}
          onDraft={setDraft}
          onSend={ask}
          onStop={answering(chat) ? stop : null}
        />
      </footer>
      <Announcer chat={chat} link={link} />
    </div>
  );
}
