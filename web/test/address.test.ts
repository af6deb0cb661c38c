/** Where the page looks for the gateway. */
import { expect, test } from "vitest";
import { apiBase, socketUrl } from "../src/app/address";

test.each([
  [
    undefined,
    "http://localhost:8000/",
    "http://localhost:8000/api/v1/",
    "ws://localhost:8000/api/v1/ws/chat",
  ],
  [
    undefined,
    "https://a.example/chat/#/c/1",
    "https://a.example/chat/api/v1/",
    "wss://a.example/chat/api/v1/ws/chat",
  ],
  ["https://b.example/x", "http://a/", "https://b.example/x/api/v1/", "wss://b.example/x/api/v1/ws/chat"],
  ["wss://b.example", "http://a/", "https://b.example/api/v1/", "wss://b.example/api/v1/ws/chat"],
])("server %s on the page %s", (server, page, api, socket) => {
  const base = apiBase(server, page);
  expect([base.href, socketUrl(base)]).toEqual([api, socket]);
});
