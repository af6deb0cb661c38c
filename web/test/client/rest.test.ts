/** The HTTP API as docs/openapi.json describes it. */
import { readFileSync } from "node:fs";
import { expect, test, vi } from "vitest";
import { ChatClient } from "../../src/client/client";
import { ChatRest, type Exported } from "../../src/client/rest";

const C = "01932c07-0000-7000-8000-00000000000c";
const M = "01932c07-6c8a-7000-8000-000000000001";
const conversation = {
  id: C,
  title: "Hello",
  created_ms: 1,
  updated_ms: 2,
  revision: 1,
  temporary: false,
  pinned: false,
};
const base = "https://example.com/chat/api/v1/";
/** Not in the document yet. */
const ELSEWHERE = ["get /me", "post /ws/ticket"];

type Route = { parameters?: { name: string; in: string }[] };
const paths: Record<string, Record<string, Route>> = JSON.parse(
  readFileSync("../docs/openapi.json", "utf8"),
).paths;

/** An API that answers everything with this. */
function answering(body: unknown, status = 200, headers: Record<string, string> = {}) {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return vi.fn<typeof fetch>(async () => new Response(status === 204 ? null : text, { status, headers }));
}

test("every call is a route of the document, with its parameters", async () => {
  const fetch = answering({});
  const rest = new ChatRest({ base, fetch });
  const page = { before: M, limit: 10 };
  await Promise.all([
    rest.me(),
    rest.ticket(),
    rest.models(),
    rest.countTokens("芝士"),
    rest.list({ ...page, folder: "工作" }),
    rest.folders(),
    rest.search("芝士 cheese", 10),
    rest.create({ temporary: true }),
    rest.get(C),
    rest.messages(C, page),
    rest.change(C, { folder: null }),
    rest.delete(C),
    rest.restore(C),
    rest.deleteAll(),
    rest.export(C),
    rest.exportMarkdown(C),
    rest.import({} as Exported),
  ]);
  for (const [url, init] of fetch.mock.calls) {
    const { pathname, searchParams } = new URL(`${url}`);
    const path = pathname.replace("/chat/api/v1", "").replace(C, "{id}");
    const method = init?.method?.toLowerCase() ?? "";
    if (ELSEWHERE.includes(`${method} ${path}`)) continue;
    const route = paths[`/api/v1${path}`]?.[method];
    expect(route, `${method} ${path}`).toBeDefined();
    const known = (route?.parameters ?? []).map(({ name }) => name);
    expect(known).toEqual(expect.arrayContaining([...searchParams.keys()]));
  }
  const searched = fetch.mock.calls.map(([url]) => `${url}`).find((url) => url.includes("search"));
  expect(searched).toBe(`${base}search?q=%E8%8A%9D%E5%A3%AB+cheese&limit=10`);
});

test("a request carries cookies, the app's header fields, and its body as JSON", async () => {
  const fetch = answering(conversation);
  const headers = async () => ({ authorization: "Bearer t" });
  await new ChatRest({ base, fetch, headers }).change(C, { title: "Bye", folder: null });
  expect(fetch.mock.calls).toEqual([
    [
      new URL(`${base}conversations/${C}`),
      {
        method: "PATCH",
        credentials: "include",
        headers: { authorization: "Bearer t", "content-type": "application/json" },
        body: '{"title":"Bye","folder":null}',
      },
    ],
  ]);
});

test("a refusal is an error with the server's code, words and time", async () => {
  const body = {
    error: { code: "rate_limited", message: "wait", type: "rate_limit_error" },
    src: "chat-gateway",
  };
  const rest = new ChatRest({ base, fetch: answering(body, 429, { "retry-after": "12" }) });
  const refused = { code: "rate_limited", message: "wait", retryAfterSeconds: 12 };
  await expect(rest.list()).rejects.toMatchObject(refused);
});

test("a page of something in between, and no network, are the same", async () => {
  const proxy = new ChatRest({ base, fetch: answering("<html>502</html>", 502) });
  await expect(proxy.get(C)).rejects.toMatchObject({ code: "unreachable", message: "HTTP 502" });
  const portal = new ChatRest({ base, fetch: answering("<html>Sign in</html>") });
  await expect(portal.get(C)).rejects.toMatchObject({ code: "unreachable" });
  const offline = new ChatRest({ base, fetch: vi.fn().mockRejectedValue(new TypeError("failed")) });
  await expect(offline.get(C)).rejects.toMatchObject({ code: "unreachable" });
});

test("what is deleted answers with nothing", async () => {
  const rest = new ChatRest({ base, fetch: answering("", 204) });
  await expect(rest.delete(C)).resolves.toBeUndefined();
});

test("a conversation is loaded before its messages, into a client's state", async () => {
  const messages = [{ id: M, parent: null, role: "user", created_ms: 1, content: [] }];
  const bodies = [conversation, { messages, next: M }];
  const fetch = vi.fn<typeof globalThis.fetch>(async () => Response.json(bodies.shift()));
  const client = new ChatClient({ url: "ws://gateway/api" });
  expect(await new ChatRest({ base, fetch }).loadInto(client, C)).toBe(M);
  expect(client.getState().chats.get(C)).toMatchObject({ record: conversation, revision: 1 });
  expect(fetch.mock.calls.map(([url]) => `${url}`)).toEqual([
    `${base}conversations/${C}`,
    `${base}conversations/${C}/messages`,
  ]);
});

test("a login that stands before the gateway counts as the gateway's own", async () => {
  const rest = new ChatRest({ base, fetch: answering("<h1>Sign in</h1>", 401) });
  await expect(rest.me()).rejects.toMatchObject({ code: "unauthenticated" });
});
