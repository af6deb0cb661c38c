/** How answers are asked for. What is not set is the server's choice. */
import { RotateCcw } from "lucide-react";
import { useState } from "react";
import { usePage, usePageState } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import type { AnswerOptions } from "../client";
import { IconButton } from "../ui/IconButton";
import { Choice, Field } from "./Field";
import {
  describeRange,
  limitsOf,
  NUMBER_OPTIONS,
  type NumberOption,
  parseNumber,
  parseStops,
  rangeOf,
  showStops,
  systemError,
  withOption,
} from "./options";
import { words } from "./words";

export function Answers() {
  const text = useWords(words);
  const page = usePage();
  const options = usePageState(({ preferences }) => preferences.options);
  // The fields keep what is typed; a reset begins them anew.
  const [resets, setResets] = useState(0);
  const hasAny = Object.keys(options).length > 0;
  return (
    <>
      <p className="settings-intro">{text.answersIntro}</p>
      <div key={resets} className="settings-fields">
        <SystemPrompt />
        <Thinking />
        {NUMBER_OPTIONS.map((option) => (
          <NumberField key={option} option={option} />
        ))}
        <Stops />
      </div>
      <p className="settings-actions">
        <button
          type="button"
          className="button"
          disabled={!hasAny}
          onClick={() => {
            page.setPreferences({ options: {} });
            setResets(resets + 1);
          }}
        >
          {text.resetAll}
        </button>
      </p>
    </>
  );
}

/** An option, and what sets it. */
function useOption<K extends keyof AnswerOptions>(name: K) {
  const page = usePage();
  const value = usePageState(({ preferences }) => preferences.options[name]);
  const set = (next: AnswerOptions[K] | undefined) => {
    const { options } = page.store.getState().preferences;
    page.setPreferences({ options: withOption(options, name, next) });
  };
  return [value, set] as const;
}

function useLimits() {
  return limitsOf(usePageState(({ chat }) => chat.welcome));
}

function Reset({ label, onReset }: { label: string; onReset: () => void }) {
  const text = useWords(words);
  return (
    <IconButton label={text.reset(label)} onClick={onReset}>
      <RotateCcw />
    </IconButton>
  );
}

function SystemPrompt() {
  const text = useWords(words);
  const language = useLanguage();
  const limits = useLimits();
  const [value, set] = useOption("system");
  const [typed, setTyped] = useState<string>();
  const shown = typed ?? value ?? "";
  const error = systemError(shown, limits, language);
  const change = (next: string) => {
    setTyped(next);
    if (systemError(next, limits, language) === undefined) set(next === "" ? undefined : next);
  };
  return (
    <Field
      label={text.system}
      note={text.systemNote}
      error={error}
      aside={shown !== "" && <Reset label={text.system} onReset={() => change("")} />}
    >
      {(ids) => (
        <textarea
          {...ids}
          rows={3}
          dir="auto"
          placeholder={text.serverChoice}
          aria-invalid={error !== undefined}
          value={shown}
          onChange={({ target }) => change(target.value)}
        />
      )}
    </Field>
  );
}

function Thinking() {
  const text = useWords(words);
  const [value, set] = useOption("thinking");
  if (useLimits().thinking === false) return null;
  return (
    <Choice
      label={text.thinking}
      note={text.thinkingNote}
      value={value === undefined ? "server" : value ? "on" : "off"}
      options={[
        ["server", text.serverChoice],
        ["on", text.on],
        ["off", text.off],
      ]}
      onChange={(chosen) => set(chosen === "server" ? undefined : chosen === "on")}
    />
  );
}

function NumberField({ option }: { option: NumberOption }) {
  const text = useWords(words);
  const language = useLanguage();
  const range = rangeOf(option, useLimits());
  const [value, set] = useOption(option);
  /** What is typed, while it differs from what is set. */
  const [typed, setTyped] = useState<string>();
  const { label, note } = text.options[option];
  const shown = typed ?? (value === undefined ? "" : String(value));
  const parsed = parseNumber(shown, option, range, language);
  const hasError = "error" in parsed;
  const reset = () => {
    setTyped(undefined);
    set(undefined);
  };
  return (
    <Field
      isShort
      label={label}
      note={text.withRange(note, describeRange(range, language))}
      error={hasError ? parsed.error : undefined}
      aside={shown !== "" && <Reset label={label} onReset={reset} />}
    >
      {(ids) => (
        <input
          {...ids}
          type="text"
          inputMode={range.whole ? "numeric" : "decimal"}
          autoComplete="off"
          aria-invalid={hasError}
          placeholder={range.default === undefined ? text.serverChoice : text.serverChooses(range.default)}
          value={shown}
          onChange={({ target }) => {
            setTyped(target.value);
            const next = parseNumber(target.value, option, range, language);
            if ("value" in next) set(next.value);
          }}
          onBlur={() => !hasError && setTyped(undefined)}
        />
      )}
    </Field>
  );
}

function Stops() {
  const text = useWords(words);
  const language = useLanguage();
  const limits = useLimits();
  const [value, set] = useOption("stop");
  const [typed, setTyped] = useState<string>();
  const shown = typed ?? showStops(value);
  const parsed = parseStops(shown, limits, language);
  const hasError = "error" in parsed;
  return (
    <Field
      label={text.stop}
      note={text.stopNote}
      error={hasError ? parsed.error : undefined}
      aside={
        shown !== "" && (
          <Reset
            label={text.stop}
            onReset={() => {
              setTyped(undefined);
              set(undefined);
            }}
          />
        )
      }
    >
      {(ids) => (
        <textarea
          {...ids}
          rows={2}
          spellCheck={false}
          aria-invalid={hasError}
          placeholder={text.serverChoice}
          value={shown}
          onChange={({ target }) => {
            setTyped(target.value);
            const next = parseStops(target.value, limits, language);
            if ("value" in next) set(next.value);
          }}
          onBlur={() => !hasError && setTyped(undefined)}
        />
      )}
    </Field>
  );
}
