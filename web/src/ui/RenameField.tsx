/** A field in the place of a title. Enter or leaving it keeps the new one, Escape the old one. */
import { type KeyboardEvent, useEffect, useRef } from "react";

/** As many characters as the server takes. */
const MAX_TITLE = 200;

interface RenameFieldProps {
  title: string;
  label: string;
  /** Told the new title; the old one when nothing was changed. */
  onEnd: (title: string) => void;
}

export function RenameField({ title, label, onEnd }: RenameFieldProps) {
  const input = useRef<HTMLInputElement>(null);
  const ended = useRef(false);
  useEffect(() => input.current?.select(), []);
  const end = (keep: boolean) => {
    if (ended.current) return;
    ended.current = true;
    const written = input.current?.value.trim() ?? "";
    onEnd(keep && written !== "" ? written : title);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing || event.keyCode === 229) return;
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter");
  };
  return (
    <input
      ref={input}
      className="rename"
      dir="auto"
      aria-label={label}
      defaultValue={title}
      maxLength={MAX_TITLE}
      // biome-ignore lint/a11y/noAutofocus: the person has just asked to rename.
      autoFocus
      onKeyDown={onKeyDown}
      onBlur={() => end(true)}
    />
  );
}
