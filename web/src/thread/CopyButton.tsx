/** Copies a text and says for a moment that it has. */
import { Check, Copy, X } from "lucide-react";
import { useEffect, useState } from "react";
import { useWords } from "../app/words";
import { copyText } from "../ui/copy";
import { IconButton } from "../ui/IconButton";
import { words } from "./words";

const SAID_MS = 2000;

export function CopyButton({ text: copied }: { text: string }) {
  const text = useWords(words);
  const [done, setDone] = useState<boolean>();
  useEffect(() => {
    if (done === undefined) return;
    const timer = setTimeout(() => setDone(undefined), SAID_MS);
    return () => clearTimeout(timer);
  }, [done]);
  const label = done === undefined ? text.copy : done ? text.copied : text.notCopied;
  return (
    <IconButton label={label} onClick={() => void copyText(copied).then(setDone)}>
      {done === undefined ? <Copy /> : done ? <Check /> : <X />}
    </IconButton>
  );
}
