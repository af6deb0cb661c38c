/** Why the page is not connected, where reconnecting alone does not help, and what does. */
import { TriangleAlert } from "lucide-react";
import { usePage, usePageState } from "../app/context";
import { useWords } from "../app/words";
import type { Link } from "../client";
import { isEmpty } from "./rows";
import { type ThreadWords, words } from "./words";

export function LinkBanner() {
  const text = useWords(words);
  const page = usePage();
  const link = usePageState(({ chat }) => chat.link);
  const signedOut = usePageState((state) => state.signedOut);
  // The empty thread says it itself.
  const isSaid = usePageState((state) => state.signedOut && isEmpty(state));
  const says = finalWords(link, text) ?? (signedOut ? text.linkSignedOut : undefined);
  if (says === undefined || isSaid) return null;
  return (
    <div className="link-banner" role="alert">
      <TriangleAlert />
      <p className="link-banner-text">{says}</p>
      <button type="button" className="button" onClick={page.reconnect}>
        {text.reconnect}
      </button>
    </div>
  );
}

/** What a final close means. Nothing for a link that comes back by itself, or that nobody has opened. */
export function finalWords(link: Link, text: ThreadWords): string | undefined {
  if (link.name !== "closed" || link.code === 1000) return undefined;
  switch (link.code) {
    case 4401:
      return text.linkSignedOut;
    case 4410:
      return text.linkRevoked;
    case 4409:
      return text.linkTooMany;
    case 4406:
      return text.linkVersion;
    case 1006:
      return text.linkForbidden;
    default:
      return text.linkBroken;
  }
}
