/**
 * Whether the page is connected, and when it tries again. Shows nothing while all is well: the dot beside the model says
 * so.
 */
import { useEffect, useState } from "react";
import { words } from "./appWords";
import { usePage, usePageState } from "./context";
import { useWords } from "./words";

export function LinkPill() {
  const text = useWords(words);
  const page = usePage();
  const link = usePageState(({ chat }) => chat.link);
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (link.name !== "waiting") return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [link]);

  switch (link.name) {
    case "connecting":
      return (
        <span className="pill" data-link="connecting">
          {text.connecting}
        </span>
      );
    case "open":
      return (
        <span className="visually-hidden" data-link="open">
          {text.connected}
        </span>
      );
    case "waiting": {
      const seconds = Math.max(1, Math.ceil((link.retryAt - now) / 1000));
      return (
        <button
          type="button"
          className="pill"
          data-link="waiting"
          title={text.reconnectNow}
          onClick={() => page.client.reconnectNow()}
        >
          {navigator.onLine ? text.reconnectingIn(seconds) : text.offline}
        </button>
      );
    }
    case "closed":
      return (
        <button
          type="button"
          className="pill"
          data-link="closed"
          title={text.reconnectNow}
          onClick={page.reconnect}
        >
          {text.offline}
        </button>
      );
  }
}
