/**
 * Keys that act wherever the focus is in the chat: Escape stops the answer, and typing goes to the field. In a page of
 * its own the chat hears every key; inside an app's page only those that are pressed in it.
 */
import { type RefObject, useEffect } from "react";
import { usePage } from "../app/context";
import { isComposing, isTyping } from "./keys";

/** `stop` returns whether there was something to stop. */
export function useChatKeys(input: RefObject<HTMLTextAreaElement | null>, stop: () => boolean): void {
  const { isEmbedded } = usePage();
  useEffect(() => {
    const field = input.current;
    const heard = isEmbedded ? chatOf(field) : field?.ownerDocument;
    if (!field || !heard) return;
    const onKeyDown = (event: Event) => {
      const key = event as KeyboardEvent;
      const focused = focusedBeside(field);
      if (key.defaultPrevented || isComposing(key) || isEditable(focused) || isCovered(field)) return;
      if (key.key === "Escape" && stop()) key.preventDefault();
      // The character goes where the focus is once this has returned.
      if (isTyping(key)) field.focus();
    };
    heard.addEventListener("keydown", onKeyDown);
    return () => heard.removeEventListener("keydown", onKeyDown);
  }, [input, stop, isEmbedded]);
}

/** The element with the focus, in the tree that `field` is in, unless it is the field. */
export function focusedBeside(field: Element): Element | null {
  const { activeElement } = field.getRootNode() as Document | ShadowRoot;
  return activeElement === field ? null : activeElement;
}

/** Whether typing goes into this element. */
export function isEditable(element: Element | null): boolean {
  return element?.closest("input, textarea, select, [contenteditable]") != null;
}

/** Whether a dialog, a menu or the list of a narrow chat lies over the chat that `element` belongs to. */
export function isCovered(element: Element): boolean {
  const chat = chatOf(element);
  if (chat?.matches('[data-width="narrow"][data-sidebar="open"]')) return true;
  if (chat?.querySelector("dialog[open]")) return true;
  try {
    return chat?.querySelector(":popover-open") != null;
  } catch {
    // A browser without popovers has none open.
    return false;
  }
}

export function chatOf(element: Element | null): HTMLElement | null {
  return element?.closest<HTMLElement>(".corral") ?? null;
}
