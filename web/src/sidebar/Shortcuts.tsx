/** The sheet of keyboard shortcuts. */
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { words } from "./words";

export function Shortcuts({ onClose }: { onClose: () => void }) {
  const text = useWords(words);
  return (
    <Dialog title={text.shortcuts} onClose={onClose}>
      {null}
    </Dialog>
  );
}
