/** What a story needs, and what ends with it: visits, in which nothing may have gone wrong, and a model of its own. */
import type { Browser } from "playwright-core";
import { afterAll, afterEach, beforeAll, onTestFinished } from "vitest";
import { launch } from "./browser";
import { Gateway } from "./gateway";
import { Upstream, type UpstreamOptions } from "./upstream";
import { Visit, type VisitOptions } from "./visit";

/** Opens a browser for the stories of this file. Returns what begins a visit. */
export function visits(): (options?: VisitOptions) => Promise<Visit> {
  let browser: Browser | undefined;
  const begun: Visit[] = [];
  beforeAll(async () => {
    browser = await launch();
  });
  afterEach(async () => {
    for (const visit of begun.splice(0)) await visit.end();
  });
  afterAll(() => browser?.close());
  return async (options) => {
    if (!browser) throw new Error("a visit begins inside of a story");
    const visit = await Visit.start(browser, options);
    begun.push(visit);
    return visit;
  };
}

/** A gateway of the story's own, before a model that says what the story tells it to. Both end after the visits. */
export async function scripted(options?: UpstreamOptions): Promise<{ upstream: Upstream; url: string }> {
  const upstream = await Upstream.start(options);
  const gateway = await Gateway.start({ upstream: upstream.address });
  onTestFinished(async () => {
    await gateway.close();
    upstream.close();
  });
  return { upstream, url: gateway.url };
}
