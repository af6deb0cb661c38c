/** An error as a sentence, set off, and what to do about it. */
import { errorWords, type KnownError } from "../app/errorWords";
import { useLanguage } from "../app/words";

export function ErrorText({ error }: { error: KnownError }) {
  const language = useLanguage();
  const { says, todo } = errorWords(error, language);
  // Chinese has no space between sentences.
  const space = language === "zh-CN" ? "" : " ";
  return (
    <p className="end-text">
      <strong>{says}</strong>
      {space + todo}
    </p>
  );
}
