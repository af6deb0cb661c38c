/** A button that copies a text and says for a moment whether it worked. */
import { Check, Copy, X } from "lucide-react";
import { useEffect, useState } from "react";
import { useWords } from "../app/words";
import { copyText } from "./copy";
import { IconButton } from "./IconButton";
import { words } from "./words";

interface CopyButtonProps {
  label: string;
  /** Called when the button is pressed. */
  text: () => string;
  className?: string;
}

const SHOWN_MS = 2000;

export function CopyButton({ label, text, className = "" }: CopyButtonProps) {
  const { copied, copyFailed } = useWords(words);
  const [result, setResult] = useState<boolean>();

  useEffect(() => {
    if (result === undefined) return;
    const timer = setTimeout(() => setResult(undefined), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [result]);

  const said = result === undefined ? label : result ? copied : copyFailed;
  return (
    <>
      <IconButton label={said} className={className} onClick={async () => setResult(await copyText(text()))}>
        {result === undefined ? <Copy /> : result ? <Check /> : <X />}
      </IconButton>
      <span className="visually-hidden" role="status">
        {result === undefined ? "" : said}
      </span>
    </>
  );
}
