/** What the first paint knows, before the program is there. */
import { readFileSync } from "node:fs";
import { beforeEach, expect, test } from "vitest";
import { loadPreferences, savePreferences } from "../../src/app/preferences";

const script = readFileSync("public/first-paint.js", "utf8");
const { dataset } = document.documentElement;

beforeEach(() => {
  localStorage.clear();
  delete dataset.theme;
  delete dataset.sidebar;
});

test("it has the theme and the side bar that the page keeps", () => {
  savePreferences(localStorage, { ...loadPreferences(localStorage), theme: "dark", sidebar: false });
  new Function(script)();
  expect({ ...dataset }).toEqual({ theme: "dark", sidebar: "closed" });
});

test("without anything kept it follows the system", () => {
  new Function(script)();
  expect({ ...dataset }).toEqual({ theme: "system", sidebar: "open" });
});

test("what cannot be read is no error", () => {
  localStorage.setItem("corral.preferences", "{");
  new Function(script)();
  expect({ ...dataset }).toEqual({});
});

test("the manifest and its icons are beside the page, at addresses that hold below any prefix", () => {
  const manifest = JSON.parse(readFileSync("public/manifest.webmanifest", "utf8"));
  const addresses: string[] = [manifest.start_url, manifest.scope, ...manifest.icons.map(srcOf)];
  expect(addresses.filter((address) => !address.startsWith("./"))).toEqual([]);
  for (const { src, sizes } of manifest.icons.filter(isPng)) {
    const png = readFileSync(`public/${src}`);
    expect(`${png.readUInt32BE(16)}x${png.readUInt32BE(20)}`).toBe(sizes);
  }
});

function srcOf({ src }: { src: string }): string {
  return src;
}

function isPng({ type }: { type: string }): boolean {
  return type === "image/png";
}
