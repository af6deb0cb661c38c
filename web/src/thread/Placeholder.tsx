/** What stands where a conversation would be: it is loading, it cannot be had, or nobody is signed in. */
import { usePage } from "../app/context";
import { describeError } from "../app/errorWords";
import { useLanguage, useWords } from "../app/words";
import type { ChatError } from "../client";
import { words } from "./words";

export function Loading() {
  const text = useWords(words);
  return (
    <div className="thread skeleton" role="status" aria-label={text.loading}>
      {["short", "long", "short", "long"].map((length, at) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they never change.
        <div key={at} className="skeleton-row" data-length={length} />
      ))}
    </div>
  );
}

export function LoadFailed({ conversation, error }: { conversation: string; error: ChatError }) {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const isMissing = error.code === "not_found";
  return (
    <div className="welcome" role="alert">
      <h2 className="welcome-title">{isMissing ? text.notFound : text.loadFailed}</h2>
      <p>{isMissing ? text.notFoundNote : describeError(error, language)}</p>
      <p className="welcome-actions">
        {isMissing ? (
          <button type="button" className="button-primary" onClick={() => page.open(undefined)}>
            {text.newChat}
          </button>
        ) : (
          <button type="button" className="button-primary" onClick={() => page.open(conversation)}>
            {text.tryAgain}
          </button>
        )}
      </p>
    </div>
  );
}

export function SignedOut() {
  const text = useWords(words);
  const page = usePage();
  return (
    <div className="welcome" role="alert">
      <h2 className="welcome-title">{text.signIn}</h2>
      <p>{text.signInNote}</p>
      <p className="welcome-actions">
        <button type="button" className="button-primary" onClick={page.reconnect}>
          {text.tryAgain}
        </button>
      </p>
    </div>
  );
}
