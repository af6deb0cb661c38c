/**
 * Where there is a mouse, the field has the focus at the start, after a conversation is opened, and after a message was
 * edited. On phones the focus would bring up the keyboard. An embedded chat takes no focus from the page around it.
 */
import { type RefObject, useEffect } from "react";
import { usePage, usePageState } from "../app/context";
import { chatOf, focusedBeside, isCovered, isEditable } from "./useChatKeys";

export function useFieldFocus(input: RefObject<HTMLTextAreaElement | null>): void {
  const { isEmbedded } = usePage();
  const open = usePageState((state) => state.open);
  const isEditing = usePageState((state) => state.editing !== undefined);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another conversation is another beginning.
  useEffect(() => {
    const field = input.current;
    if (!field || isEditing || !hasMouse()) return;
    const other = focusedBeside(field);
    const isOutside = isEmbedded && !chatOf(field)?.contains(other);
    if (!isOutside && !isEditable(other) && !isCovered(field)) field.focus({ preventScroll: true });
  }, [open, isEditing, isEmbedded]);
}

export function hasMouse(): boolean {
  return matchMedia("(hover: hover)").matches;
}
