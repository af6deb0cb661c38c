/**
 * How the page is built and tested. `base: "./"` keeps every address relative, so that one build works at `/`
 * and below any path prefix; nothing is inlined, so that a strict Content-Security-Policy holds. The web component is a
 * second entry, `embed.js`. Its name never changes, because other pages name it; it shares all chunks with the page.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import react from "@vitejs/plugin-react";
import type { Plugin } from "vite";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  plugins: [react(), compressed()],
  build: {
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: { index: "index.html", embed: "src/embed/script.ts" },
      output: {
        entryFileNames: ({ name }) => (name === "embed" ? "embed.js" : "assets/[name]-[hash].js"),
      },
    },
  },
  server: {
    proxy: { "/api": { target: "http://127.0.0.1:8000", ws: true } },
  },
  test: {
    environment: "happy-dom",
    include: ["test/**/*.test.{ts,tsx}"],
    restoreMocks: true,
    unstubGlobals: true,
  },
});

const TEXT = /\.(?:css|html|js|mjs|json|svg|webmanifest|wasm|ttf)$/;
/** Below this, a compressed file saves no packet. */
const MIN_BYTES = 1024;

/** Writes a `.br` and a `.gz` beside each built file that becomes smaller, for the gateway to serve. */
function compressed(): Plugin {
  const ways = {
    br: (bytes: Buffer) =>
      promisify(brotliCompress)(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }),
    gz: (bytes: Buffer) => promisify(gzip)(bytes, { level: 9 }),
  };
  return {
    name: "compressed",
    apply: "build",
    async writeBundle({ dir = "dist" }, bundle) {
      const files = Object.keys(bundle).filter((file) => TEXT.test(file));
      for (const file of files) {
        const bytes = await readFile(join(dir, file));
        if (bytes.length < MIN_BYTES) continue;
        for (const [ending, compress] of Object.entries(ways))
          await writeFile(join(dir, `${file}.${ending}`), await compress(bytes));
      }
    },
  };
}
