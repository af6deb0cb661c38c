/** A ring that fills as the conversation fills the model's context. Pressed, it says so in a sentence. */
import { usePage } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import { useContextUse } from "../thread/context";
import { formatCount, formatPercent } from "./units";
import { words } from "./words";

/** From here on the ring is drawn as a warning. */
const NEARLY_FULL = 0.85;
const RADIUS = 7;
const AROUND = 2 * Math.PI * RADIUS;

export function ContextMeter() {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const use = useContextUse();
  if (!use || use.size <= 0) return null;
  const share = Math.min(1, use.used / use.size);
  const sentence = text.contextUse(
    formatPercent(share, language),
    formatCount(use.used, language),
    formatCount(use.size, language),
  );
  return (
    <button
      type="button"
      className="icon-button context-meter"
      data-full={share >= NEARLY_FULL}
      aria-label={sentence}
      title={sentence}
      onClick={() => page.notices.show(sentence)}
    >
      <svg viewBox="0 0 20 20" aria-hidden="true">
        <circle cx="10" cy="10" r={RADIUS} />
        <circle cx="10" cy="10" r={RADIUS} strokeDasharray={`${share * AROUND} ${AROUND}`} />
      </svg>
    </button>
  );
}
