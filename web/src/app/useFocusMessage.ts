/** Scrolls to the message that `focusMessage` names, marks it for a moment and puts the focus on it. */
import { type RefObject, useEffect } from "react";
import { usePage, usePageState } from "./context";

export function useFocusMessage(content: RefObject<HTMLElement | null>): void {
  const page = usePage();
  const message = usePageState(({ focusMessage }) => focusMessage);
  useEffect(() => {
    if (message === undefined) return;
    // The thread may scroll to its end in the frame in which it is drawn.
    const frame = requestAnimationFrame(() => {
      page.store.setState({ focusMessage: undefined });
      const element = content.current?.querySelector<HTMLElement>(`[data-message="${CSS.escape(message)}"]`);
      if (!element) return;
      element.scrollIntoView({ block: "center" });
      element.tabIndex = -1;
      element.focus({ preventScroll: true });
      element.dataset.found = "";
      element.addEventListener("animationend", () => delete element.dataset.found, { once: true });
    });
    return () => cancelAnimationFrame(frame);
  }, [message, page, content]);
}
