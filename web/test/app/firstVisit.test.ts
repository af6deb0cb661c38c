/** A browser that comes for the first time must be one person to the server. */
import { beforeEach, expect, test, vi } from "vitest";
import { ChatPage } from "../../src/app/page";
import { FakeServer } from "../client/fakeServer";

let asked: string[];

beforeEach(() => {
  FakeServer.all = [];
  asked = [];
  vi.stubGlobal("WebSocket", FakeServer);
  vi.stubGlobal("fetch", async (url: URL) => {
    asked.push(url.pathname);
    return Response.json({ conversations: [] });
  });
});

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));

test("nothing is asked over HTTP before the socket has brought the cookie", async () => {
  const page = new ChatPage({ api: new URL("https://example.com/api/v1/") });
  page.open("c1");
  const stop = page.start();
  await settled();
  expect(asked).toEqual([]);
  FakeServer.last.welcomes();
  await vi.waitFor(() => expect(asked).toContain("/api/v1/conversations"));
  stop();
});

test("a socket that cannot be opened keeps nothing from being asked", async () => {
  const page = new ChatPage({ api: new URL("https://example.com/api/v1/") });
  const stop = page.start();
  FakeServer.last.breaks();
  await vi.waitFor(() => expect(asked).toContain("/api/v1/conversations"));
  stop();
});
