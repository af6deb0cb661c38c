/** The focus goes back to the composer after what was done in the thread, where that opens no keyboard over the page. */
export function focusComposer(from: Element): void {
  const chat = from.closest(".corral");
  if (!matchMedia("(hover: hover)").matches) return;
  chat?.querySelector<HTMLElement>(".composer textarea")?.focus({ preventScroll: true });
}
