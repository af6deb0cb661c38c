import { cleanup, render } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Markdown } from "../../src/markdown/Markdown";
import "../../src/markdown/Prose";
import { HOSTILE } from "./hostile";

afterEach(cleanup);

const ELEMENTS = new Set(
  "a bdi blockquote br button code del div em h1 h2 h3 h4 h5 h6 hr img input kbd li mark ol p path pre rect section small span strong sub sup svg table tbody td th thead tr u ul b i s ins circle line polyline".split(
    " ",
  ),
);
const ATTRIBUTES =
  /^(?:align|alt|aria-[a-z]+|checked|class|cx|cy|d|data-[a-z-]+|decoding|dir|disabled|fill|height|hidden|href|r|readonly|rel|role|rx|ry|src|start|stroke|stroke-[a-z]+|style|tabindex|target|title|type|viewBox|width|x|x1|x2|xmlns|y|y1|y2|points)$/;

/** What is wrong with what is shown. */
function harmIn(shown: Element): string[] {
  return [...shown.querySelectorAll("*")].flatMap((element) => {
    const name = element.localName;
    const found = ELEMENTS.has(name) ? [] : [`<${name}>`];
    for (const attribute of element.attributes) {
      if (!ATTRIBUTES.test(attribute.name)) found.push(`<${name} ${attribute.name}>`);
    }
    const href = element.getAttribute("href");
    if (href !== null && !/^(?:https?:\/\/[^/]|mailto:.)/.test(href)) found.push(`link to ${href}`);
    if (href !== null && element.getAttribute("rel") !== "noopener noreferrer nofollow") found.push("rel");
    const src = element.getAttribute("src");
    if (src !== null && !/^data:image\/(?:png|jpeg|gif|webp);base64,/.test(src)) found.push(`loads ${src}`);
    if (/url\(|position|expression/.test(element.getAttribute("style") ?? "")) found.push("style");
    return found;
  });
}

describe("a hostile text", () => {
  it("comes in more than 100 kinds", () => {
    expect(HOSTILE.length).toBeGreaterThan(100);
  });

  it.each(HOSTILE)("becomes no script, request or unsafe link: $name", async ({ text }) => {
    const { container, rerender } = render(<Markdown text={text} running={false} />);
    await vi.waitFor(() => expect(container.querySelector("[data-waits]")).toBeNull());
    expect(harmIn(container)).toEqual([]);
    for (const part of [0.3, 0.6, 0.9]) {
      rerender(<Markdown key={part} text={text.slice(0, text.length * part)} running />);
      expect(harmIn(container)).toEqual([]);
    }
  });

  it("keeps raw HTML as the text that it is", () => {
    const text = '<script>alert("x")</script>';
    const { container } = render(<Markdown text={text} running={false} />);
    expect(container.textContent).toBe(text);
  });
});
