import { afterEach, describe, expect, it, vi } from "vitest";
import { copyText } from "../../src/ui/copy";

afterEach(() => document.body.replaceChildren());

/** A browser that copies what is selected in the field that has the focus. */
function oldBrowser(works = true): string[] {
  const copied: string[] = [];
  document.execCommand = () => {
    if (document.activeElement instanceof HTMLTextAreaElement) copied.push(document.activeElement.value);
    return works;
  };
  return copied;
}

describe("copying a text", () => {
  it("uses the clipboard where there is one", async () => {
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    expect(await copyText("a\nb")).toBe(true);
    expect(writeText.mock.calls).toEqual([["a\nb"]]);
  });

  it("works on a page without TLS, and gives the focus back", async () => {
    vi.stubGlobal("navigator", {});
    const copied = oldBrowser();
    const button = document.body.appendChild(document.createElement("button"));
    button.focus();
    expect(await copyText("a\nb")).toBe(true);
    expect({ copied, focus: document.activeElement, left: document.body.childElementCount }).toEqual({
      copied: ["a\nb"],
      focus: button,
      left: 1,
    });
  });

  it("takes the old way when the clipboard refuses", async () => {
    vi.stubGlobal("navigator", {
      clipboard: { writeText: async () => Promise.reject(new Error("refused")) },
    });
    const copied = oldBrowser();
    expect(await copyText("a")).toBe(true);
    expect(copied).toEqual(["a"]);
  });

  it("works inside an open dialog, outside which nothing can be selected", async () => {
    vi.stubGlobal("navigator", {});
    const dialog = document.body.appendChild(document.createElement("dialog"));
    const button = dialog.appendChild(document.createElement("button"));
    button.focus();
    const append = vi.spyOn(dialog, "append");
    oldBrowser();
    await copyText("a");
    expect(append).toHaveBeenCalledTimes(1);
  });

  it("says when it did not work", async () => {
    vi.stubGlobal("navigator", {});
    oldBrowser(false);
    expect(await copyText("a")).toBe(false);
  });
});
