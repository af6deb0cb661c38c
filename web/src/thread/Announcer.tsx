/** Tells screen readers what changed in one calm sentence, instead of reading every token aloud. */
import { useEffect, useState } from "react";
import { usePage } from "../app/context";
import { useLanguage } from "../app/words";
import { announce, nothingHeard } from "./announce";

export function Announcer() {
  const { store } = usePage();
  const language = useLanguage();
  const [said, setSaid] = useState({ text: "", count: 0 });
  useEffect(() => {
    // What is there already is no news.
    let [heard] = announce(nothingHeard, store.getState(), language);
    return store.subscribe((state, before) => {
      const [next, happened] = announce(heard, state, language);
      heard = next;
      const text = happened ?? (state.said === before.said ? undefined : state.said?.text);
      if (text !== undefined) setSaid(({ count }) => ({ text, count: count + 1 }));
    });
  }, [store, language]);
  return (
    <div className="visually-hidden" role="status">
      {/* A new element: the same words are read again. */}
      <p key={said.count}>{said.text}</p>
    </div>
  );
}
