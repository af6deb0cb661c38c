/** A conversation that does not exist yet: who answers, and something to begin with. */
import { Ghost } from "lucide-react";
import type { MouseEvent } from "react";
import { usePage, usePageState } from "../app/context";
import { useLanguage, useWords } from "../app/words";
import { focusComposer } from "./focus";
import { isTiny, modelName } from "./model";
import { words } from "./words";

export function Welcome() {
  const text = useWords(words);
  const page = usePage();
  const model = usePageState(({ chat }) => chat.welcome?.model);
  const temporary = usePageState((state) => state.temporary);
  const begin = (prompt: string, event: MouseEvent<HTMLElement>) => {
    page.drafts.set({ ...page.drafts.get(), text: prompt });
    focusComposer(event.currentTarget);
  };
  return (
    <div className="welcome">
      <h2 className="welcome-title">{text.welcome}</h2>
      <p>{model ? text.welcomeModel(modelName(model)) : text.welcomeNote}</p>
      {model && isTiny(model) && <TinyNote />}
      {temporary && (
        <p className="welcome-box welcome-temporary">
          <Ghost />
          <span>
            <strong>{text.temporary}</strong> {text.temporaryNote}
          </span>
        </p>
      )}
      <ul className="prompts" aria-label={text.examples}>
        {text.prompts.map((prompt) => (
          <li key={prompt}>
            <button type="button" className="prompt" onClick={(event) => begin(prompt, event)}>
              {prompt}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function TinyNote() {
  const text = useWords(words);
  const language = useLanguage();
  const page = language === "zh-CN" ? "docs/models.zh-CN.md" : "docs/models.md";
  const [before, after] = text.tinyHow("\n").split("\n");
  return (
    <p className="welcome-box welcome-tiny">
      {text.tiny}
      {before}
      <code>{page}</code>
      {after}
    </p>
  );
}
