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
  return (
    <div className="notices" role="status">
      {notices.map(({ id, text: says, action }) => (
        <div key={id} className="notice">
          <span>{says}</span>
          {action && (
            <button
              type="button"
              className="notice-action"
              onClick={() => {
                page.dismiss(id);
                action.run();
              }}
            >
              {action.label}
            </button>
          )}
          <IconButton label={text.dismiss} onClick={() => page.dismiss(id)}>
            <X />
          </IconButton>
        </div>
      ))}
    </div>
  );
}
