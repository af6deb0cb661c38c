/**
 * What speaks against sending a draft, before it is sent. What certainly fails blocks; what an estimate says only warns.
 */
import { useMemo } from "react";
import { usePage, usePageState } from "../app/context";
import type { Draft } from "../app/state";
import { type Language, useLanguage } from "../app/words";
import type { AnswerOptions, Welcome } from "../client";
import { bytesBeyond, draftContent, draftTokens } from "./cost";
import { formatBytes, formatCount } from "./units";
import { words } from "./words";

export interface Objection {
  sentence: string;
  blocks: boolean;
}

export function useObjection(draft: Draft): Objection | undefined {
  const page = usePage();
  const language = useLanguage();
  const open = usePageState((state) => state.open);
  const chosen = usePageState(({ preferences }) => preferences.options);
  const limits = usePageState(({ chat }) => chat.welcome?.limits);
  const model = usePageState(({ chat }) => chat.welcome?.model);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `optionsFor` reads what was chosen.
  return useMemo(() => {
    if (!limits || !model) return undefined;
    return objectionTo(draft, { limits, model }, page.optionsFor(open), language);
  }, [draft, limits, model, open, chosen, page, language]);
}

export function objectionTo(
  draft: Draft,
  { limits, model }: Pick<Welcome, "limits" | "model">,
  options: AnswerOptions,
  language: Language,
): Objection | undefined {
  const text = words[language];
  if (!model.images && draft.attachments.some(({ kind }) => kind === "image")) {
    return { sentence: text.noImages, blocks: true };
  }
  const most = limits.message_bytes;
  const bytes = bytesBeyond(most, draftContent(draft), options);
  if (bytes !== undefined) {
    const sentence = text.tooLarge(formatBytes(bytes, language), formatBytes(most, language));
    return { sentence, blocks: true };
  }
  const { count, exact, counted } = draftTokens(draft);
  if (model.context === undefined || count < model.context) return undefined;
  const shown = formatCount(count, language);
  const size = formatCount(model.context, language);
  if (counted < model.context) return { sentence: text.aboutTooManyTokens(shown, size), blocks: false };
  return { sentence: text.tooManyTokens(exact ? shown : `≈ ${shown}`, size), blocks: true };
}
