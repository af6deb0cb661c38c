/**
 * Where the gateway is. The API stands beside the page unless another base was named, so a page served below
 * `/some/prefix/` finds its API there too.
 */

/** The HTTP API's base, as in `https://example.com/prefix/api/v1/`. */
export function apiBase(server: string | undefined, pageUrl: string): URL {
  const base = new URL(server || ".", pageUrl);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  base.protocol = isSecure(base) ? "https:" : "http:";
  return new URL("api/v1/", base);
}

/** The chat's WebSocket below the same base: `wss:` exactly when the API is `https:`. */
export function socketUrl(api: URL): string {
  const url = new URL("ws/chat", api);
  url.protocol = isSecure(api) ? "wss:" : "ws:";
  return url.href;
}

function isSecure({ protocol }: URL): boolean {
  return protocol === "https:" || protocol === "wss:";
}
