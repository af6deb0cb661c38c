/** Searches while the person types: not for every letter, and never shows the answer to an older query. */
import { useEffect, useState } from "react";
import { usePage } from "../app/context";
import type { Found } from "../client";

const TYPING_MS = 120;
const MAX_FOUND = 40;

export type SearchState =
  | { name: "idle" }
  /** `query` is what `found` answers, not what is being typed. */
  | { name: "found"; query: string; found: readonly Found[] }
  | { name: "failed" };

export function useSearch(query: string): SearchState {
  const page = usePage();
  const [state, setState] = useState<SearchState>({ name: "idle" });
  const wanted = query.trim();
  useEffect(() => {
    if (wanted === "") {
      setState({ name: "idle" });
      return;
    }
    let isCurrent = true;
    const timer = setTimeout(async () => {
      try {
        const found = await page.rest.search(wanted, MAX_FOUND);
        if (isCurrent) setState({ name: "found", query: wanted, found });
      } catch {
        if (isCurrent) setState({ name: "failed" });
      }
    }, TYPING_MS);
    return () => {
      isCurrent = false;
      clearTimeout(timer);
    };
  }, [wanted, page]);
  return state;
}
