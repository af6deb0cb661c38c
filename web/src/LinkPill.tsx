/**
 * The connection at a glance; while it waits to reconnect, a press connects at once.
 */
import { useEffect, useState } from "react";
import type { Link } from "./connection";
import { useText } from "./text";

export function LinkPill({ link, onReconnect }: { link: Link; onReconnect: () => void }) {
  const text = useText();
  if (link.name === "waiting") {
    return (
      <button
        type="button"
        className="pill"
        data-link="waiting"
        title={text.reconnectNow}
        onClick={onReconnect}
      >
        {navigator.onLine ? <Countdown until={link.retryAt} /> : text.offline}
      </button>
    );
  }
  return (
    <span className="pill" data-link={link.name}>
      {link.name === "open" ? text.connected : text.connecting}
    </span>
  );
}

function Countdown({ until }: { until: number }) {
  const text = useText();
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, []);
  return text.reconnectingIn(Math.max(0, Math.ceil((until - now) / 1000)));
}
