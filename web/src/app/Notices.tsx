/** Short messages over the page, each with at most one thing to do. */
import { X } from "lucide-react";
import { IconButton } from "../ui/IconButton";
import { words } from "./appWords";
import { usePage, usePageState } from "./context";
import { useWords } from "./words";

export function Notices() {
  const text = useWords(words);
  const page = usePage();
  const notices = usePageState((state) => state.notices);
  const { dismiss, hold, release } = page.notices;
  return (
    <div className="notices" role="status">
      {notices.map(({ id, text: says, action }) => (
        // biome-ignore lint/a11y/noStaticElementInteractions: nothing is done here, it only stays while somebody is at it.
        <div
          key={id}
          className="notice"
          onMouseEnter={() => hold(id)}
          onMouseLeave={() => release(id)}
          onFocus={() => hold(id)}
          onBlur={() => release(id)}
        >
          <span>{says}</span>
          {action && (
            <button
              type="button"
              className="notice-action"
              onClick={() => {
                dismiss(id);
                action.run();
              }}
            >
              {action.label}
            </button>
          )}
          <IconButton label={text.dismiss} onClick={() => dismiss(id)}>
            <X />
          </IconButton>
        </div>
      ))}
    </div>
  );
}
