/** A model's answer as Markdown. */
interface MarkdownProps {
  text: string;
  /** More may come: the end may be half-written. */
  running: boolean;
}

export function Markdown({ text }: MarkdownProps) {
  return <div className="markdown">{text}</div>;
}
