/** What a person can set. */
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { words } from "./words";

export function Settings({ onClose }: { onClose: () => void }) {
  const text = useWords(words);
  return (
    <Dialog title={text.settings} onClose={onClose}>
      {null}
    </Dialog>
  );
}
