/** A button that copies a text and shows for a moment whether it worked. The page says it to screen readers. */
import { Check, Copy, X } from "lucide-react";
import { useContext, useEffect, useState } from "react";
import { PageContext } from "../app/context";
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
  const page = useContext(PageContext);
  const [result, setResult] = useState<boolean>();
  const copy = async () => {
    const isCopied = await copyText(text());
    setResult(isCopied);
    page?.say(isCopied ? copied : copyFailed);
  };

  useEffect(() => {
    if (result === undefined) return;
    const timer = setTimeout(() => setResult(undefined), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [result]);

  const said = result === undefined ? label : result ? copied : copyFailed;
  return (
    <IconButton label={said} className={className} onClick={() => void copy()}>
      {result === undefined ? <Copy /> : result ? <Check /> : <X />}
    </IconButton>
  );
}
