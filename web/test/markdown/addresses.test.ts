/** When the real host is shown beside a link, because its text names another one. */
import { expect, test } from "vitest";
import { namesOtherHost } from "../../src/markdown/addresses";

test.each([
  "https://bank.example\u200b",
  "bank\u00ad.exam\u2060ple/login",
  "\ufeffhttps://bank\u3164.example",
  "bank.example.",
  "“bank.example”…",
  "(https://bank.example/login).",
  "[bank.example]",
  "HTTPS://BANK.EXAMPLE:443 ",
  "192.0.2.7",
  "http://192.0.2.7:8080/login",
  "[2001:db8::1]",
  "https://[::1]/login",
])("the text %j of a link to another host is followed by that host", (text) => {
  expect(namesOtherHost(text, { href: "https://evil.example/", host: "evil.example" })).toBe(true);
});

test.each([
  ["a\u200b.com.", "https://www.a.com/"],
  ["(https://a.com/b)", "https://a.com/b"],
  ["192.0.2.7", "http://192.0.2.7:8080/"],
  ["[2001:db8::1]", "http://[2001:db8::1]:8080/"],
  ["http://[::1]:80/x", "http://[::1]/"],
  ["[1]", "https://a.com/"],
  ["12:30", "https://a.com/"],
  ["What a.com says.", "https://b.com/"],
  ["bank.example", "mailto:a@evil.example"],
])("the text %j of a link to %s is followed by no host", (text, href) => {
  expect(namesOtherHost(text, { href, host: new URL(href).host })).toBe(false);
});
