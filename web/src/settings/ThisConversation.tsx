/** The open conversation's own system prompt, kept at the server. */
import { useState } from "react";
import { usePage, usePageState } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import { Field } from "./Field";
import { limitsOf, systemError } from "./options";
import { problemWords } from "./problem";
import { words } from "./words";

type Progress = { state: "idle" | "saving" | "saved" } | { state: "failed"; says: string };

export function ThisConversation() {
  const text = useWords(words);
  const open = usePageState((state) => state.open);
  if (open === undefined) return <p className="settings-intro">{text.noConversation}</p>;
  return <OwnPrompt key={open} conversation={open} />;
}

function OwnPrompt({ conversation }: { conversation: string }) {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const kept = usePageState(({ chat }) => chat.chats.get(conversation)?.record?.system) ?? "";
  const [typed, setTyped] = useState<string>();
  const [progress, setProgress] = useState<Progress>({ state: "idle" });
  const shown = typed ?? kept;
  const limits = limitsOf(usePageState(({ chat }) => chat.welcome));
  const tooLong = systemError(shown, limits, language);

  const save = async () => {
    setProgress({ state: "saving" });
    try {
      await page.conversations.change(conversation, { system: shown === "" ? null : shown });
      setProgress({ state: "saved" });
    } catch (reason) {
      setProgress({ state: "failed", says: problemWords(reason, language) });
    }
  };
  return (
    <>
      <Field
        label={text.ownSystem}
        note={text.ownSystemNote}
        error={tooLong ?? (progress.state === "failed" ? progress.says : undefined)}
      >
        {(ids) => (
          <textarea
            {...ids}
            rows={6}
            dir="auto"
            value={shown}
            onChange={({ target }) => {
              setTyped(target.value);
              setProgress({ state: "idle" });
            }}
          />
        )}
      </Field>
      <p className="settings-actions">
        <button
          type="button"
          className="button-primary"
          disabled={shown === kept || tooLong !== undefined || progress.state === "saving"}
          onClick={() => void save()}
        >
          {text.save}
        </button>
        <span role="status">{progress.state === "saved" && text.saved}</span>
      </p>
    </>
  );
}
