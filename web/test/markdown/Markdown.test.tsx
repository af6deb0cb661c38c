import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Markdown } from "../../src/markdown/Markdown";
import "../../src/markdown/Prose";
import { pick, randomDocument, randomFrom } from "./documents";

afterEach(cleanup);

// KaTeX refuses to work in the mode that happy-dom claims to be in.
Object.defineProperty(document, "compatMode", { value: "CSS1Compat" });

/** Several tests draw much; beside other work they take long. */
const PATIENT = { timeout: 60_000 };

async function drawn(container: Element): Promise<void> {
  await vi.waitFor(() => expect(container.querySelector("[data-waits]")).toBeNull(), 20_000);
}

async function show(text: string, running = false): Promise<HTMLElement> {
  const { container } = render(<Markdown text={text} running={running} />);
  await drawn(container);
  return container.querySelector(".markdown") as HTMLElement;
}

/** What is shown, as simple HTML: without what only serves style, and with formulas and code as their source. */
async function shown(text: string, running = false): Promise<string> {
  const markdown = (await show(text, running)).cloneNode(true) as HTMLElement;
  for (const element of markdown.querySelectorAll("button, [hidden], [role=status], .code-head svg"))
    element.remove();
  for (const element of markdown.querySelectorAll(".formula-source"))
    element.replaceWith(`⟦${element.textContent}⟧`);
  return [...markdown.children]
    .map(({ innerHTML }) => innerHTML)
    .join("")
    .replaceAll(/<(\/?)([a-z0-9]+)( [^>]*)?>/g, (_, slash, name) =>
      /^(?:span|div|section|code|pre)$/.test(name) ? "" : `<${slash}${name}>`,
    )
    .replaceAll(/\s*\n\s*/g, " ")
    .trim();
}

describe("a model that repeats itself", () => {
  it.each(["> ", ">", "- ", "1. ", "> - "])(
    "%j a thousand times is shown as it was written",
    async (mark) => {
      const text = `${mark.repeat(1000)}x`;
      const whole = await show(text);
      expect(whole.querySelector(".as-written")?.textContent).toBe(text);
      const growing = await show(text, true);
      expect(growing.querySelector(".as-written")?.textContent).toBe(text);
    },
  );

  it("still has quotes and lists inside of each other as deep as people write them", async () => {
    const markdown = await show(`${"> - ".repeat(6)}x`);
    expect(markdown.querySelectorAll("blockquote, ul")).toHaveLength(12);
  });
});

describe("an answer", () => {
  it.each([
    [
      "emphasis beside Chinese",
      "**中文**后，**“强调”**后",
      "<p><strong>中文</strong>后，<strong>“强调”</strong>后</p>",
    ],
    ["one tilde as a range", "20~25℃，30~35℃", "<p>20~25℃，30~35℃</p>"],
    ["two tildes", "~~gone~~", "<p><del>gone</del></p>"],
    [
      "a table",
      "|a|\n|-|\n|b|",
      "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>",
    ],
    ["a few tags that shape text", "H<sub>2</sub>O<br>x", "<p>H<sub>2</sub>O<br>x</p>"],
    ["other tags as text", "a <div>b</div>", "<p>a &lt;div&gt;b&lt;/div&gt;</p>"],
    [
      "an address before Chinese punctuation",
      "见https://a.com/b，**后**",
      "<p>见<a>https://a.com/b</a>，<strong>后</strong></p>",
    ],
    ["an address before Chinese letters", "https://a.com后面", "<p><a>https://a.com</a>后面</p>"],
    ["an address with Chinese letters", "https://a.com/排序。后", "<p><a>https://a.com/排序</a>。后</p>"],
    ["an unsafe link as its text", "[x](javascript:alert(1))", "<p><bdi>x</bdi></p>"],
    ["a link from a later definition", "[x]\n\ny\n\n[x]: https://a.com", "<p><a>x</a></p><p>y</p>"],
    ["the first of two definitions", "[x]: https://a.com\n\n[x]: https://b.com\n\n[x]", "<p><a>x</a></p>"],
    [
      "prices",
      "from $5 to $10, $5-$10, US$6 and $HOME:$PATH",
      "<p>from $5 to $10, $5-$10, US$6 and $HOME:$PATH</p>",
    ],
    ["formulas in a line", "设$x_1$为 \\(y_2\\)", "<p>设⟦x_1⟧为 ⟦y_2⟧</p>"],
    ["no formula in code", "`$x$` `\\(y\\)`", "<p>$x$ \\(y\\)</p>"],
    ["a formula with lines that look like a list", "\\[\na\n- b\n\\]", "⟦a - b⟧"],
    ["a formula in a list", "- a\n  $$\n  b\n  $$\n- c", "<ul><li>a⟦b⟧</li><li>c</li></ul>"],
    ["text after a formula", "$$\na\n$$ b\n\nc", "⟦a⟧<p>b</p><p>c</p>"],
    ["an open bracket as text", "\\(a \\[b", "<p>(a [b</p>"],
  ])("shows %s", async (_, text, expected) => {
    expect(await shown(text)).toBe(expected);
  });

  it.each([
    ["closes open emphasis", "a **b", "<p>a <strong>b</strong></p>"],
    ["closes open code", "a `b", "<p>a b</p>"],
    ["shows a link's text before its address", "[text](https://exa", "<p>text</p>"],
    ["makes a table of its head", "| a | b |", "<table><thead><tr><th>a</th><th>b</th></tr></thead></table>"],
    [
      "makes a table of half its rule",
      "| a | b |\n| -",
      "<table><thead><tr><th>a</th><th>b</th></tr></thead></table>",
    ],
    ["holds back a mark that may become a list", "a\n\n-", "<p>a</p>"],
    ["holds back a fence that is not written yet", "a\n\n``", "<p>a</p>"],
    ["holds back a closing fence", "```\na\n``", "a"],
    ["holds back an open formula", "a \\(x_1", "<p>a</p>"],
    ["shows an open block of math as its source", "$$\nx^2", "⟦x^2⟧"],
    ["leaves a price alone", "costs $5", "<p>costs $5</p>"],
  ])("still being written %s", async (_, text, expected) => {
    expect(await shown(text, true)).toBe(expected);
  });

  it("looks the same at the end however it arrived", PATIENT, async () => {
    for (let seed = 0; seed < 15; seed += 1) {
      const random = randomFrom(seed);
      const text = randomDocument(random);
      const { container, rerender, unmount } = render(<Markdown text="" running />);
      for (let end = 0; end < text.length; end += 1 + Math.floor(random() * 30)) {
        rerender(<Markdown text={text.slice(0, end)} running={random() < 0.9} />);
      }
      rerender(<Markdown text={text} running={false} />);
      await drawn(container);
      const streamed = container.innerHTML;
      unmount();
      expect(streamed.replaceAll(/ style="[^"]*"/g, "")).toBe(
        ((await show(text)).parentElement as HTMLElement).innerHTML.replaceAll(/ style="[^"]*"/g, ""),
      );
      cleanup();
    }
  });

  it("keeps the elements of blocks that are over while more arrives", async () => {
    const { container, rerender } = render(<Markdown text={"One\n\nTw"} running={false} />);
    const [one] = container.querySelectorAll("p");
    rerender(<Markdown text={"One\n\nTwo\n\n- three\n"} running={false} />);
    rerender(<Markdown text={"One\n\nTwo\n\n- three\n\n```\nfour"} running={false} />);
    expect(container.querySelectorAll("p")[0]).toBe(one);
    expect(container.textContent).toBe("OneTwothreefour");
  });

  it("draws all of a very long text in the end", PATIENT, async () => {
    const random = randomFrom(7);
    const words = Array.from({ length: 4000 }, () => pick(random, ["some", "words", "to", "read.\n\n"]));
    const markdown = await show(words.join(" "));
    await vi.waitFor(() =>
      expect(markdown.textContent?.replaceAll(/\s+/g, "")).toBe(words.join("").replaceAll(/\s+/g, "")),
    );
  });
});

describe("a link", () => {
  it("opens a new tab that knows nothing of this page, and tells its host", async () => {
    await show("[here](https://user@b\u0430nk.example/x)");
    const { href, target, rel, title } = screen.getByRole<HTMLAnchorElement>("link");
    expect({ href, target, rel, title }).toEqual({
      href: "https://user@xn--bnk-6cd.example/x",
      target: "_blank",
      rel: "noopener noreferrer nofollow",
      title: "xn--bnk-6cd.example",
    });
  });

  it("that names another host than it leads to shows the host", async () => {
    const markdown = await show("[bank.example](https://evil.example/) [www.a.com/b](https://a.com/c)");
    expect(markdown.textContent).toBe("bank.exampleevil.example www.a.com/b");
  });
});

describe("an image", () => {
  it("elsewhere is a link that says where it is, and is not loaded", async () => {
    const markdown = await show("![A chart](https://img.example/x.png)");
    expect(markdown.querySelector("img")).toBeNull();
    expect(screen.getByRole("link").textContent).toBe("A chartImage from img.example");
  });

  it("inside the text is shown, if it is a picture without scripts", async () => {
    const markdown = await show("![a](data:image/png;base64,AAAA)![b](data:image/svg+xml;base64,AAAA)");
    expect([...markdown.querySelectorAll("img")].map(({ alt }) => alt)).toEqual(["a"]);
  });
});

describe("code", () => {
  it("is copied exactly as the fence has it", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    await show("~~~ python title=x\n  a\n\n\tb \n~~~");
    fireEvent.click(screen.getByRole("button", { name: "Copy code" }));
    await screen.findByRole("button", { name: "Copied" });
    expect(writeText.mock.calls).toEqual([["  a\n\n\tb "]]);
  });

  it("gets its colours once it is complete", async () => {
    const { container, rerender } = render(<Markdown text={"```js\nlet a = 1;\n"} running />);
    expect(container.querySelector(".code-keyword")).toBeNull();
    rerender(<Markdown text={"```js\nlet a = 1;\n```\n"} running />);
    await vi.waitFor(() => expect(container.querySelector(".code-keyword")?.textContent).toBe("let"), 5000);
    expect(container.querySelector("pre")?.textContent).toBe("let a = 1;");
  });

  it("in a language that nobody knows stays plain", async () => {
    const markdown = await show("```constructor\nlet a;\n```");
    expect(markdown.querySelector("pre")?.textContent).toBe("let a;");
  });
});

describe("a formula", () => {
  it("is drawn by KaTeX, and read aloud by its MathML", PATIENT, async () => {
    const markdown = await show("$x^2$");
    await vi.waitFor(() => expect(markdown.querySelector("math")).not.toBeNull(), 20_000);
    expect(markdown.querySelector("annotation")?.textContent).toBe("x^2");
    expect(markdown.querySelector(".formula-source")).toBeNull();
  });

  it("that is wrong shows its source", PATIENT, async () => {
    const markdown = await show("$x$ $$\\frac{1}{$$");
    await vi.waitFor(() => expect(markdown.querySelector("math")).not.toBeNull(), 20_000);
    expect(markdown.querySelector(".formula-source")?.textContent).toBe("\\frac{1}{");
  });

  it("follows no links and loads nothing", PATIENT, async () => {
    const markdown = await show(
      "$x$ $\\href{javascript:alert(1)}{y}$ $\\includegraphics{https://evil.example/x.png}$",
    );
    await vi.waitFor(() => expect(markdown.querySelector("math")).not.toBeNull(), 20_000);
    expect(markdown.querySelector("a, img, image")).toBeNull();
  });

  it("copies its LaTeX when it is clicked", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    await show("$a_1$ and\n\n$$b$$");
    fireEvent.click(screen.getAllByTitle("Copy as LaTeX")[0] as HTMLElement);
    await screen.findByText((_, element) => element?.getAttribute("data-said") === "LaTeX copied");
    fireEvent.click(screen.getByRole("button", { name: "Copy as LaTeX" }));
    await screen.findByRole("button", { name: "Copied" });
    expect(writeText.mock.calls).toEqual([["a_1"], ["b"]]);
  });
});

describe("a footnote", () => {
  it("is found from the text, and the text from it, inside the same answer", async () => {
    const markdown = await show("Text[^a].\n\nMore.\n\n[^a]: The **note**.");
    const reference = screen.getByRole("button", { name: "Footnote a" });
    const note = markdown.querySelector<HTMLElement>("[data-footnote]");
    expect(note?.querySelector(".footnote-text")?.textContent).toBe("The note.");
    const scroll = vi.spyOn(HTMLElement.prototype, "scrollIntoView");
    fireEvent.click(reference);
    fireEvent.click(screen.getByRole("button", { name: "Back to the text" }));
    expect(scroll.mock.instances).toEqual([note, reference]);
  });
});
