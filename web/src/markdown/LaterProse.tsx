/**
 * Prose as Markdown, once its parser is here. The parser is a third of the whole program, and an empty chat needs none of
 * it, so it is loaded after the page has been drawn. Until then text is shown as it was written; nothing is lost.
 */
import { type ComponentType, useSyncExternalStore } from "react";
import type { Block } from "./blocks";
import { soon } from "./slices";
import { AsWritten, Unbroken } from "./Unbroken";

export interface ProseProps {
  text: string;
  part?: Block["part"];
  /** The number of the first item of a list. */
  number?: number | undefined;
}

/** The page is drawn before the parser takes the processor. */
const LOAD_AFTER_MS = 100;
/** A load that failed is tried again. */
const RETRY_MS = 5000;

let Prose: ComponentType<ProseProps> | undefined;
let isLoading = false;
const waiting = new Set<() => void>();

/** Called by the parser's own file, so that a program that imports it has Markdown at once. */
export function provideProse(component: ComponentType<ProseProps>): void {
  Prose = component;
  // All at once would be one long task.
  for (const draw of waiting) soon(draw);
}

function load(): void {
  if (Prose || isLoading) return;
  isLoading = true;
  import("./Prose").catch(() => {
    isLoading = false;
    setTimeout(load, RETRY_MS);
  });
}

function subscribe(draw: () => void): () => void {
  waiting.add(draw);
  load();
  return () => waiting.delete(draw);
}

// The first answer then finds it here.
setTimeout(load, LOAD_AFTER_MS);

export function LaterProse(props: ProseProps) {
  const Loaded = useSyncExternalStore(subscribe, () => Prose);
  if (!Loaded) return <AsWritten text={props.text} />;
  return (
    <Unbroken text={props.text}>
      <Loaded {...props} />
    </Unbroken>
  );
}
