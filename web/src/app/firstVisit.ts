/**
 * A browser that comes for the first time gets its cookie with the socket. If it asked over HTTP at the same time, it would
 * be two people, and the second one could not see what the first one writes.
 */
import type { ChatClient } from "../client";

/** Resolves once the first attempt to connect has ended, well or not. */
export function untilTried(client: ChatClient): Promise<void> {
  return new Promise((resolve) => {
    const leave = client.subscribe(({ link }) => {
      const isPending = link.name === "connecting" || (link.name === "closed" && link.code === 1000);
      if (isPending) return;
      leave();
      resolve();
    });
  });
}
