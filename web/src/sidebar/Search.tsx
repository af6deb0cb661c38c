/** Finds conversations by their words. */
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { words } from "./words";

export function Search({ onClose }: { onClose: () => void }) {
  const text = useWords(words);
  return (
    <Dialog title={text.search} onClose={onClose}>
      {null}
    </Dialog>
  );
}
