/** Shows a text as it was written when it cannot be drawn: one strange block must not cost the conversation. */
import { Component, type ReactNode } from "react";

interface UnbrokenProps {
  text: string;
  children: ReactNode;
}

interface UnbrokenState {
  text: string;
  hasFailed: boolean;
}

export class Unbroken extends Component<UnbrokenProps, UnbrokenState> {
  override state: UnbrokenState = { text: this.props.text, hasFailed: false };

  static getDerivedStateFromError(): Partial<UnbrokenState> {
    return { hasFailed: true };
  }

  /** Another text is tried again. */
  static getDerivedStateFromProps({ text }: UnbrokenProps, before: UnbrokenState): UnbrokenState | null {
    return text === before.text ? null : { text, hasFailed: false };
  }

  override render(): ReactNode {
    const { text, children } = this.props;
    return this.state.hasFailed ? <AsWritten text={text} /> : children;
  }
}

export function AsWritten({ text }: { text: string }) {
  return (
    <p className="as-written" dir="auto">
      {text.trimEnd()}
    </p>
  );
}
