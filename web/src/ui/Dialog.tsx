/**
 * A modal dialog with a title and a close button. The browser's own: Escape and inertness come with it. The focus begins
 * at the title, which screen readers then say, unless a field inside has taken it.
 */
import { X } from "lucide-react";
import { type ReactNode, useId } from "react";
import { useWords } from "../app/words";
import { IconButton } from "./IconButton";
import { useModal } from "./useModal";
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
  const { dialog, onClosed } = useModal(onClose);
  const heading = useId();
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself.
    <dialog
      ref={dialog}
      className={`dialog ${className}`}
      aria-labelledby={heading}
      onClose={onClosed}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div className="dialog-body">
        <div className="dialog-head">
          <h2 id={heading} tabIndex={-1}>
            {title}
          </h2>
          <IconButton label={text.close} onClick={() => dialog.current?.close()}>
            <X />
          </IconButton>
        </div>
        {children}
      </div>
    </dialog>
  );
}
