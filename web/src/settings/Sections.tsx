/** The sections of the settings, one of which is shown. Arrow keys move between their tabs. */
import { type ComponentType, type KeyboardEvent, useId, useRef, useState } from "react";
import { useWords } from "../app/words";
import { About } from "./About";
import { Answers } from "./Answers";
import { Data } from "./Data";
import { General } from "./General";
import { ThisConversation } from "./ThisConversation";
import { words } from "./words";

const SECTIONS = {
  general: General,
  answers: Answers,
  conversation: ThisConversation,
  data: Data,
  about: About,
} satisfies Record<string, ComponentType>;
type Section = keyof typeof SECTIONS;
const NAMES = Object.keys(SECTIONS) as Section[];
const STEPS: Readonly<Record<string, number>> = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };

export default function Sections() {
  const text = useWords(words);
  const id = useId();
  const tabs = useRef<HTMLDivElement>(null);
  const [shown, setShown] = useState<Section>("general");
  const Shown = SECTIONS[shown];

  const onKeyDown = (event: KeyboardEvent) => {
    const step = STEPS[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const at = (NAMES.indexOf(shown) + step + NAMES.length) % NAMES.length;
    setShown(NAMES[at] ?? "general");
    tabs.current?.querySelectorAll<HTMLElement>("[role=tab]")[at]?.focus();
  };
  return (
    <div className="settings-sections">
      <div
        ref={tabs}
        className="settings-tabs"
        role="tablist"
        aria-label={text.sections}
        onKeyDown={onKeyDown}
      >
        {NAMES.map((name) => (
          <button
            key={name}
            type="button"
            role="tab"
            id={`${id}${name}`}
            aria-selected={name === shown}
            aria-controls={`${id}panel`}
            tabIndex={name === shown ? 0 : -1}
            onClick={() => setShown(name)}
          >
            {text.sectionNames[name]}
          </button>
        ))}
      </div>
      <div id={`${id}panel`} className="settings-panel" role="tabpanel" aria-labelledby={id + shown}>
        <Shown />
      </div>
    </div>
  );
}
