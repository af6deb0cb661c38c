/** Debian's Chromium, and where the page under test is. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, chromium } from "playwright-core";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** The page under test, at the chain's gateway. */
export function pageUrl(): string {
  const url = process.env.CORRAL_PAGE_URL;
  if (!url) throw new Error("CORRAL_PAGE_URL is not set: start the chain and name the page's address in it");
  return url;
}

export function launch(): Promise<Browser> {
  return chromium.launch({ executablePath: chromiumPath(), args: FLAGS });
}

function chromiumPath(): string {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const places = [
    process.env.CHROMIUM_BIN,
    "/usr/bin/chromium",
    ...folders.map((at) => join(at, "chromium")),
  ];
  const found = places.find((place) => place && isExecutable(place));
  if (!found) throw new Error("no Chromium found: apt-get install chromium, or name one in CHROMIUM_BIN");
  return found;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
