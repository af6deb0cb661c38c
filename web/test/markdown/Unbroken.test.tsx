/** One block that cannot be drawn costs the others nothing. */
import { cleanup, render } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { Unbroken } from "../../src/markdown/Unbroken";

afterEach(cleanup);

function Fragile({ text }: { text: string }) {
  if (text.includes("!")) throw new Error("it cannot be drawn");
  return <strong>{text}</strong>;
}

function block(text: string) {
  return (
    <Unbroken text={text}>
      <Fragile text={text} />
    </Unbroken>
  );
}

test("a block that cannot be drawn is shown as it was written, until another text can be", () => {
  // React tells of it.
  vi.spyOn(console, "error").mockReturnValue();
  const { container, rerender } = render(block("one!"));
  expect(container.innerHTML).toBe('<p class="as-written" dir="auto">one!</p>');
  rerender(block("one"));
  expect(container.innerHTML).toBe("<strong>one</strong>");
});
