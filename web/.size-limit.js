/**
 * The budgets of the built page, in gzip. A first load is a page or a script with everything that it imports statically;
 * what is imported lazily counts only in the whole. Fonts and pdf.js are in neither: few visits need them.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";

const DIST = "dist";
const NAMED_BY_HTML = /(?:src|href)="(\.\/[^"]+\.(?:js|css))"/g;
const IMPORTED = /(?:\bfrom|\bimport)\s*["'](\.[^"']+)["']/g;

if (!existsSync(join(DIST, "index.html"))) throw new Error("dist/ is not built: run `npm run build` first");

/** A file with all that it loads at once. */
function firstLoad(file, found = new Set()) {
  if (found.has(file)) return found;
  found.add(file);
  const text = readFileSync(file, "utf8");
  const names = file.endsWith(".html") ? NAMED_BY_HTML : file.endsWith(".js") ? IMPORTED : undefined;
  if (names) for (const [, name] of text.matchAll(names)) firstLoad(join(dirname(file), name), found);
  return found;
}

const code = readdirSync(DIST, { recursive: true })
  .filter((file) => /\.(?:html|js|mjs|css)$/.test(file) && !/^assets\/pdf/.test(file))
  .map((file) => join(DIST, file));

export default [
  {
    name: "first load of the page",
    path: [...firstLoad(join(DIST, "index.html"))],
    limit: "175 KiB",
    gzip: true,
  },
  {
    name: "first load of <corral-chat>",
    path: [...firstLoad(join(DIST, "embed.js"))],
    limit: "175 KiB",
    gzip: true,
  },
  { name: "all but pdf.js", path: code, limit: "400 KiB", gzip: true },
];
