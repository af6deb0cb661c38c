/**
 * Shows a dialog over everything else for as long as it is drawn. It is closed before it is taken out: only then does
 * the browser give the focus back to where it was.
 */
import { type RefObject, useEffect, useLayoutEffect, useRef } from "react";

interface Modal {
  dialog: RefObject<HTMLDialogElement | null>;
  /** For the dialog's close event. */
  onClosed: () => void;
}

export function useModal(onClose: () => void): Modal {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const element = dialog.current;
    if (!element || element.open) return;
    const { activeElement } = element.getRootNode() as Document | ShadowRoot;
    const field = element.contains(activeElement) ? activeElement : element.querySelector("h2");
    element.showModal();
    (field as HTMLElement | null)?.focus();
  }, []);
  useLayoutEffect(() => {
    const element = dialog.current;
    return () => element?.close();
  }, []);
  const onClosed = () => {
    // React's strict mode closes it and shows it again: the event comes when it is open.
    if (!dialog.current?.open) onClose();
  };
  return { dialog, onClosed };
}
