/** What is on screen before the parser of Markdown is loaded. Nothing here may import it at once. */
import { cleanup, render, waitFor } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { Markdown } from "../../src/markdown/Markdown";

afterEach(cleanup);

test("text is shown as it was written until its parser is here, and as Markdown from then on", async () => {
  const { container } = render(<Markdown text={"Some **bold** words\n\n- one"} running={false} />);
  expect([...container.querySelectorAll("p")].map(({ textContent }) => textContent)).toEqual([
    "Some **bold** words",
    "- one",
  ]);
  await waitFor(() => expect(container.querySelector("strong")?.textContent).toBe("bold"), {
    timeout: 30_000,
  });
  expect(container.querySelector("li")?.textContent?.trim()).toBe("one");
}, 60_000);
