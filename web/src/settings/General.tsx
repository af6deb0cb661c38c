/** Language, look, and whether to be told of answers in the background. */
import { useId, useState } from "react";
import { usePage, usePageState } from "../app/context";
import { LANGUAGES, type Language, useWords } from "../app/words";
import { Choice, Field } from "./Field";
import { words } from "./words";

const OWN_NAMES: Readonly<Record<Language, string>> = { en: "English", "zh-CN": "简体中文" };

export function General() {
  const text = useWords(words);
  const page = usePage();
  const { language, theme, textSize } = usePageState(({ preferences }) => preferences);
  const setLanguage = (chosen: string) => {
    if (chosen !== "") page.setPreferences({ language: chosen as Language });
    else page.unsetLanguage();
  };
  return (
    <>
      <Field label={text.language}>
        {(ids) => (
          <select {...ids} value={language ?? ""} onChange={({ target }) => setLanguage(target.value)}>
            <option value="">{text.languageOfBrowser}</option>
            {LANGUAGES.map((known) => (
              <option key={known} value={known} lang={known}>
                {OWN_NAMES[known]}
              </option>
            ))}
          </select>
        )}
      </Field>
      <Choice
        label={text.theme}
        value={theme}
        options={[
          ["system", text.themes.system],
          ["light", text.themes.light],
          ["dark", text.themes.dark],
        ]}
        onChange={(chosen) => page.setPreferences({ theme: chosen })}
      />
      <Choice
        label={text.textSize}
        value={textSize}
        options={[
          ["small", text.textSizes.small],
          ["medium", text.textSizes.medium],
          ["large", text.textSizes.large],
        ]}
        onChange={(chosen) => page.setPreferences({ textSize: chosen })}
      />
      {/* Whether an app's page notifies is the app's to say. */}
      {!page.isEmbedded && <Notify />}
    </>
  );
}

/** Asks the browser only once the person has asked for it. */
function Notify() {
  const text = useWords(words);
  const page = usePage();
  const id = useId();
  const notify = usePageState(({ preferences }) => preferences.notify);
  const [permission, setPermission] = useState(notificationPermission);
  const change = async (wanted: boolean) => {
    const given = wanted && permission === "default" ? await Notification.requestPermission() : permission;
    setPermission(given);
    page.setPreferences({ notify: wanted && given === "granted" });
  };
  const isPossible = permission === "default" || permission === "granted";
  const note = isPossible ? text.notifyNote : text.notifyImpossible[permission];
  return (
    <div className="setting">
      <label className="setting-check">
        <input
          type="checkbox"
          aria-describedby={id}
          checked={notify && permission === "granted"}
          disabled={!isPossible}
          onChange={({ target }) => void change(target.checked)}
        />
        {text.notify}
      </label>
      <p id={id} className="setting-note">
        {note}
      </p>
    </div>
  );
}

/** Pages without TLS have no notifications. */
function notificationPermission(): NotificationPermission | "missing" {
  return typeof Notification === "undefined" || !isSecureContext ? "missing" : Notification.permission;
}
