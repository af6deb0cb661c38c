/**
 * A block of code: its language, a button that copies it exactly, and the code. While the code grows it is plain text;
 * when it is complete it gets its colours, in small slices. Very long code is laid out in chunks, and not coloured.
 */
import { WrapText } from "lucide-react";
import { type CSSProperties, memo, useEffect, useMemo, useState } from "react";
import { useWords } from "../app/words";
import { CopyButton } from "../ui/CopyButton";
import { IconButton } from "../ui/IconButton";
import { type CodeChunk, CodeChunks } from "./codeChunks";
import type { CodeToken } from "./highlight";
import { later } from "./slices";
import { words } from "./words";

interface CodeBlockProps {
  code: string;
  /** As the fence names it; may be empty. */
  language: string;
  /** No more code comes. */
  closed: boolean;
}

/** Longer code stays plain. */
const COLOUR_UP_TO = 131_072;

export const CodeBlock = memo(function CodeBlock({ code, language, closed }: CodeBlockProps) {
  const text = useWords(words);
  const [wraps, setWraps] = useState(false);
  const [splitter] = useState(() => new CodeChunks());
  const chunks = useMemo(() => splitter.read(code), [splitter, code]);
  const coloured = closed && code.length <= COLOUR_UP_TO;
  const wrap = wraps ? text.unwrapLines : text.wrapLines;
  return (
    <div className="code-block" data-wraps={wraps} dir="ltr">
      <div className="code-head">
        <span className="code-language">{language}</span>
        <IconButton label={wrap} aria-pressed={wraps} onClick={() => setWraps(!wraps)}>
          <WrapText />
        </IconButton>
        <CopyButton label={text.copyCode} text={() => code} />
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by the keyboard */}
      <pre tabIndex={0} data-chunks={chunks.length > 1 ? "many" : "one"}>
        <code>
          {chunks.map((chunk, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: chunks are only ever added at the end
            <Chunk key={at} chunk={chunk} language={coloured ? language : ""} />
          ))}
        </code>
      </pre>
    </div>
  );
});

interface ChunkProps {
  chunk: CodeChunk;
  language: string;
}

const Chunk = memo(
  function Chunk({ chunk: { text, lines, columns }, language }: ChunkProps) {
    const tokens = useTokens(text, language);
    const style = { "--lines": lines, "--code-columns": columns } as CSSProperties;
    return (
      <span className="code-chunk" style={style}>
        {tokens === undefined
          ? text
          : tokens.map(({ kind, text }, at) =>
              kind === undefined ? (
                text
              ) : (
                // biome-ignore lint/suspicious/noArrayIndexKey: the tokens of one text keep their places
                <span key={at} className={`code-${kind}`}>
                  {text}
                </span>
              ),
            )}
      </span>
    );
  },
  (before, after) => before.chunk.text === after.chunk.text && before.language === after.language,
);

/** The tokens of the code, once they are known. */
function useTokens(code: string, language: string): readonly CodeToken[] | undefined {
  const [found, setFound] = useState<{ code: string; tokens: readonly CodeToken[] }>();

  useEffect(() => {
    if (language === "") return;
    let takeBack = () => {};
    let gone = false;
    const colour = async () => {
      const { highlighterFor } = await import("./highlight");
      const highlight = await highlighterFor(language);
      if (!highlight || gone) return;
      takeBack = later(() => {
        const tokens = highlight(code);
        takeBack = later(() => setFound({ code, tokens }));
      });
    };
    // Without its grammar the code stays plain.
    colour().catch(() => undefined);
    return () => {
      gone = true;
      takeBack();
    };
  }, [code, language]);

  return language !== "" && found?.code === code ? found.tokens : undefined;
}
