/** A modal dialog with a title and a close button. The browser's own: Escape, focus and inertness come with it. */
import { X } from "lucide-react";
import { type ReactNode, useEffect, useId, useRef } from "react";
import { useWords } from "../app/words";
import { IconButton } from "./IconButton";
import { words } from "./words";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ReactNode;
  /** A class for the size, as in `wide`. */
  className?: string;
}

export function Dialog({ title, onClose, children, className = "" }: DialogProps) {
  const text = useWords(words);
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => {
    if (!dialog.current?.open) dialog.current?.showModal();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself.
    <dialog
      ref={dialog}
      className={`dialog ${className}`}
      aria-labelledby={heading}
      onClose={onClose}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div className="dialog-body">
        <header className="dialog-head">
          <h2 id={heading}>{title}</h2>
          <IconButton label={text.close} onClick={() => dialog.current?.close()}>
            <X />
          </IconButton>
        </header>
        {children}
      </div>
    </dialog>
  );
}
