/**
 * Copies text to the clipboard, also on a page without TLS, where browsers hide `navigator.clipboard`. Resolves to
 * whether it worked. Call it from a click or a key press; browsers refuse otherwise.
 */
export async function copyText(text: string): Promise<boolean> {
  if (navigator.clipboard) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      // Refused, for example inside a frame without permission: the old way may still work.
    }
  }
  return copyBySelection(text);
}

/** Selects the text in a field that nobody sees, and lets the browser copy the selection. */
function copyBySelection(text: string): boolean {
  const focused = focusedElement();
  // Outside an open dialog nothing can be selected.
  const parent = focused?.closest("dialog") ?? document.body;
  const field = document.createElement("textarea");
  field.value = text;
  field.readOnly = true;
  field.setAttribute("aria-hidden", "true");
  field.style.cssText = "position: fixed; inset: 0 auto auto 0; opacity: 0; font-size: 16px";
  parent.append(field);
  field.focus({ preventScroll: true });
  field.select();
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  } finally {
    field.remove();
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true });
  }
}

/** The element that has the focus, also inside shadow roots. */
function focusedElement(): Element | null {
  let focused = document.activeElement;
  while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
  return focused;
}
