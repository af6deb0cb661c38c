/** One quiet line that says what an answer waits for, with a bar where there is a measure of it. Never a bare spinner. */
import { usePage, usePageState } from "../app/context";
import { duration } from "../app/errorWords";
import { numberFormat } from "../app/formats";
import { useLanguage, useWords } from "../app/words";
import type { Answer } from "../client";
import { number } from "./facts";
import { SILENCE_MS, type Stage, shouldBeHeard, stageOf } from "./stage";
import { useTicks } from "./useAnswer";
import { type ThreadWords, words } from "./words";

export function StageLine({ answer }: { answer: Answer }) {
  const text = useWords(words);
  const language = useLanguage();
  const link = usePageState(({ chat }) => chat.link);
  const { clock } = usePage();
  const model = usePageState(({ chat }) => chat.welcome?.model.state);
  const stage = stageOf(answer, link, model);
  useTicks(shouldBeHeard(stage));
  // The head of the thoughts says it, with its time.
  const isSaid = stage.name === "thinking" && answer.reasoning !== "" && answer.text === "";
  const silence = shouldBeHeard(stage) ? clock.silence(answer.id) : 0;
  const isSilent = silence >= SILENCE_MS;
  const speed = stage.name === "writing" && !isSilent ? clock.speed(answer.id) : undefined;
  const parts = [
    ...(isSaid ? [] : [says(stage, text)]),
    ...details(stage, text, language),
    ...(speed === undefined ? [] : [text.estimatedSpeed(number(speed, language))]),
    ...(isSilent ? [text.silent(duration(silence / 1000, language))] : []),
  ];
  if (parts.length === 0) return null;
  return (
    <div className="stage" data-stage={stage.name} data-silent={isSilent}>
      <p className="stage-line">{parts.join(" · ")}</p>
      <Bar stage={stage} />
    </div>
  );
}

function says(stage: Stage, text: ThreadWords): string {
  switch (stage.name) {
    case "lost":
      return text.lost;
    case "behind":
      return text.behind;
    case "asked":
      return text.asked;
    case "unavailable":
      return text.unavailable;
    case "queued":
      return text.queued(stage.place);
    case "loading":
      return text.modelLoading;
    case "reading":
      return text.reading;
    case "thinking":
      return text.thinking;
    case "writing":
      return text.writing;
  }
}

function details(stage: Stage, text: ThreadWords, language: "en" | "zh-CN"): string[] {
  if (stage.name === "queued" && stage.waitSeconds !== undefined)
    return [text.about(duration(stage.waitSeconds, language))];
  if (stage.name === "reading" && stage.total) {
    const { done = 0, total, cached = 0 } = stage;
    const read = text.readTokens(number(done, language), number(total, language));
    return cached > 0 ? [read, text.remembered(number(cached, language))] : [read];
  }
  if (stage.name === "loading" && stage.total)
    return [
      numberFormat(language, { style: "percent" }).format(Math.min(1, (stage.done ?? 0) / stage.total)),
    ];
  return [];
}

function Bar({ stage }: { stage: Stage }) {
  const text = useWords(words);
  if ((stage.name !== "reading" && stage.name !== "loading") || !stage.total) return null;
  return (
    <progress className="stage-bar" aria-label={text.progress} value={stage.done ?? 0} max={stage.total} />
  );
}
