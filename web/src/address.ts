/**
 * Where the gateway is. The API stands beside the page unless `VITE_API_URL` named another base at build time,
 * so a page served below `/some/prefix/` finds its API there too.
 */

/** The chat's WebSocket address: `wss:` exactly when the base is `https:`. */
export function chatSocketUrl(apiUrl: string | undefined, pageUrl: string): string {
  const base = new URL(apiUrl || ".", pageUrl);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const url = new URL("api/v1/ws/chat", base);
  url.protocol = base.protocol === "https:" || base.protocol === "wss:" ? "wss:" : "ws:";
  return url.href;
}
