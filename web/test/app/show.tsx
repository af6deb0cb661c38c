/** Shows a chat's components on a page, with the words in English. */
import { type RenderResult, render } from "@testing-library/react";
import type { ReactNode } from "react";
import { PageContext } from "../../src/app/context";
import type { ChatPage } from "../../src/app/page";
import { type Language, LanguageContext } from "../../src/app/words";

export function show(page: ChatPage, children: ReactNode, language: Language = "en"): RenderResult {
  playPopovers();
  return render(
    <PageContext value={page}>
      <LanguageContext value={language}>{children}</LanguageContext>
    </PageContext>,
  );
}

/** happy-dom has no popovers: here a button's popover opens when it is pressed, and tells of it as a browser does. */
function playPopovers(): void {
  const tell = (element: HTMLElement, newState: "open" | "closed") => {
    for (const type of ["beforetoggle", "toggle"]) {
      element.dispatchEvent(Object.assign(new Event(type), { newState }));
    }
  };
  HTMLElement.prototype.hidePopover = function () {
    tell(this, "closed");
  };
  document.onclick = ({ target }) => {
    const button = target instanceof Element ? target.closest("[popovertarget]") : null;
    const list = document.getElementById(button?.getAttribute("popovertarget") ?? "");
    if (list) tell(list, "open");
  };
}
