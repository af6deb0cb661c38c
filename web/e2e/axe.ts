/** What axe has to say of a page as it is now: one line for each element and rule. */
import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "playwright-core";

/** With `within`, only of what is inside that element and its shadow. */
export async function findings(page: Page, within?: string): Promise<string[]> {
  const axe = new AxeBuilder({ page });
  const { violations } = await (within === undefined ? axe : axe.include(within)).analyze();
  return violations.flatMap(({ id, help, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${id}: ${help}: ${target} ${failureSummary}`),
  );
}
