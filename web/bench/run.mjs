/** Runs the bench of the page: vite reads its TypeScript, which Node 20 does not. */
import { runnerImport } from "vite";

const { module } = await runnerImport(new URL("page.ts", import.meta.url).pathname);
await module.run(process.argv.slice(2));
