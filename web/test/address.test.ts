/** Where the page looks for its gateway. */
import { expect, test } from "vitest";
import { chatSocketUrl } from "../src/address";

test.each([
  [undefined, "http://localhost:8000/", "ws://localhost:8000/api/v1/ws/chat"],
  ["", "https://chat.example.com/", "wss://chat.example.com/api/v1/ws/chat"],
  [undefined, "https://example.com/corral/?a=1#b", "wss://example.com/corral/api/v1/ws/chat"],
  [undefined, "https://example.com/corral/index.html", "wss://example.com/corral/api/v1/ws/chat"],
  ["https://api.example.com", "http://localhost:5173/", "wss://api.example.com/api/v1/ws/chat"],
  ["https://api.example.com/prefix", "http://localhost/", "wss://api.example.com/prefix/api/v1/ws/chat"],
  ["http://api.example.com:8000/p/", "http://localhost/", "ws://api.example.com:8000/p/api/v1/ws/chat"],
  ["wss://api.example.com", "http://localhost/", "wss://api.example.com/api/v1/ws/chat"],
  ["/elsewhere", "https://example.com/corral/", "wss://example.com/elsewhere/api/v1/ws/chat"],
])("VITE_API_URL %j on %s reaches %s", (apiUrl, pageUrl, socketUrl) => {
  expect(chatSocketUrl(apiUrl, pageUrl)).toBe(socketUrl);
});
