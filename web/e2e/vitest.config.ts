/**
 * The page in a real browser against a running chain; two files of stories at a time, each with a browser of its own.
 * `CORRAL_PAGE_URL` names the page, `CORRAL_PROXY_URL`, `CORRAL_API_KEY` and `CORRAL_MODEL` what gateways of a story's
 * own ask.
 */
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/*.e2e.ts"],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
  },
});
