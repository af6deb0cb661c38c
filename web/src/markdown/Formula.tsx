/**
 * A formula. Until KaTeX has drawn it, and when KaTeX cannot, its source is shown. A click copies the LaTeX, and
 * whoever selects and copies gets what they see.
 */
import { memo, useEffect, useRef, useState } from "react";
import { useWords } from "../app/words";
import { CopyButton } from "../ui/CopyButton";
import { copyText } from "../ui/copy";
import { later } from "./slices";
import { words } from "./words";

interface FormulaProps {
  tex: string;
  display: boolean;
  /** The closing marker has come. */
  closed: boolean;
}

/** A formula longer than this is shown as its source. */
const TOO_LONG = 8192;
const SHOWN_MS = 1500;

export const Formula = memo(function Formula({ tex, display, closed }: FormulaProps) {
  const text = useWords(words);
  const drawn = useRef<HTMLSpanElement>(null);
  const [isDrawn, setDrawn] = useState(false);

  useEffect(() => {
    const element = drawn.current;
    if (!element || !closed || tex.length > TOO_LONG) return;
    let takeBack = () => {};
    let gone = false;
    const draw = async () => {
      const { drawFormula } = await import("./katex");
      if (!gone) takeBack = later(() => setDrawn(drawFormula(element, tex, display)));
    };
    draw().catch(() => setDrawn(false));
    return () => {
      gone = true;
      takeBack();
    };
  }, [tex, display, closed]);

  const body = (
    <>
      <span ref={drawn} hidden={!isDrawn} />
      {!isDrawn && <code className="formula-source">{tex.trim()}</code>}
    </>
  );
  if (!display) return <InlineFormula tex={tex}>{body}</InlineFormula>;
  return (
    <span className="formula-block" dir="ltr">
      <span className="formula-scroller">{body}</span>
      {closed && <CopyButton className="formula-copy" label={text.copyFormula} text={() => tex.trim()} />}
    </span>
  );
});

/** Copies on a click of the mouse. By keyboard the whole answer can be copied; a stop at each formula would be in the way. */
function InlineFormula({ tex, children }: { tex: string; children: React.ReactNode }) {
  const text = useWords(words);
  const element = useRef<HTMLSpanElement>(null);
  const [copied, setCopied] = useState(false);

  useEffect(() => {
    const clicked = async () => {
      const root = element.current?.ownerDocument;
      if (root?.getSelection()?.isCollapsed === false) return;
      setCopied(await copyText(tex.trim()));
    };
    const { current } = element;
    current?.addEventListener("click", clicked);
    return () => current?.removeEventListener("click", clicked);
  }, [tex]);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), SHOWN_MS);
    return () => clearTimeout(timer);
  }, [copied]);

  return (
    <span
      className="formula"
      ref={element}
      dir="ltr"
      title={text.copyFormula}
      data-said={copied ? text.formulaCopied : undefined}
    >
      {children}
    </span>
  );
}
