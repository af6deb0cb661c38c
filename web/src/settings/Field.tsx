/** One setting: its name, a sentence on what it does, and its control. */
import { type ReactNode, useId } from "react";

interface FieldProps {
  label: string;
  /** What it does. */
  note?: ReactNode;
  /** What is wrong with what was typed. */
  error?: string | undefined;
  /** Beside the label: a control, or what resets it. */
  aside?: ReactNode;
  /** Whether the control is short and goes beside the label. */
  isShort?: boolean;
  /** Gets the ids that tie the control to its label and its sentences. */
  children?: (ids: { id: string; "aria-describedby": string }) => ReactNode;
}

export function Field({ label, note, error, aside, isShort = false, children }: FieldProps) {
  const id = useId();
  return (
    <div className={isShort ? "setting setting-short" : "setting"}>
      <div className="setting-head">
        <label htmlFor={id}>{label}</label>
        {aside}
      </div>
      {children?.({
        id,
        "aria-describedby": note === undefined ? `${id}error` : `${id}note ${id}error`,
      })}
      {note !== undefined && (
        <p id={`${id}note`} className="setting-note">
          {note}
        </p>
      )}
      <p id={`${id}error`} className="setting-error" role="alert">
        {error}
      </p>
    </div>
  );
}

interface ChoiceProps<T extends string> {
  label: string;
  note?: ReactNode;
  value: T;
  options: readonly (readonly [value: T, label: string])[];
  onChange: (value: T) => void;
}

/** One of a few, side by side. */
export function Choice<T extends string>({ label, note, value, options, onChange }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset
      className="setting setting-choice"
      aria-describedby={note === undefined ? undefined : `${name}note`}
    >
      <legend>{label}</legend>
      <div className="setting-options">
        {options.map(([option, words]) => (
          <label key={option}>
            <input type="radio" name={name} checked={option === value} onChange={() => onChange(option)} />
            <span>{words}</span>
          </label>
        ))}
      </div>
      {note !== undefined && (
        <p id={`${name}note`} className="setting-note">
          {note}
        </p>
      )}
    </fieldset>
  );
}
