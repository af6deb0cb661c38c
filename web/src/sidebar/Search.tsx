/** Finds conversations by the words in their titles and messages. Arrow keys choose, Enter opens. */
import { MessageSquare, Search as SearchIcon, X } from "lucide-react";
import { type KeyboardEvent, useEffect, useId, useRef, useState } from "react";
import { usePage, usePageState } from "../app/context";
import { useWords } from "../app/words";
import { IconButton } from "../ui/IconButton";
import { useModal } from "../ui/useModal";
import { words as uiWords } from "../ui/words";
import { markWords } from "./marks";
import { useSearch } from "./useSearch";
import { words } from "./words";

const RECENT = 8;

interface Hit {
  conversation: string;
  title: string;
  message?: string;
  excerpt?: string;
}

export function Search({ onClose }: { onClose: () => void }) {
  const text = useWords(words);
  const { close } = useWords(uiWords);
  const page = usePage();
  const recent = usePageState(({ list }) => list.conversations);
  const [query, setQuery] = useState("");
  const search = useSearch(query);
  const [chosen, setChosen] = useState(0);
  // Enter was pressed while the hits were still those of an older query.
  const [opensFirst, setOpensFirst] = useState(false);
  const { dialog, onClosed } = useModal(onClose);
  const list = useRef<HTMLDivElement>(null);
  const id = useId();

  const isEmpty = query.trim() === "";
  const hits: readonly Hit[] = isEmpty ? recentHits(recent) : search.name === "found" ? search.found : [];
  const marked = search.name === "found" && !isEmpty ? search.query : "";
  const isCurrent = isEmpty || (search.name === "found" && search.query === query.trim());
  const current = Math.min(chosen, hits.length - 1);

  useEffect(() => {
    list.current?.querySelector(`[data-at="${current}"]`)?.scrollIntoView({ block: "nearest" });
  }, [current]);

  useEffect(() => {
    if (!opensFirst || !isCurrent) return;
    setOpensFirst(false);
    if (hits[0]) open(hits[0]);
  });

  const open = ({ conversation, message }: Hit) => {
    onClose();
    page.store.setState({ drawer: false });
    page.open(conversation, message);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.nativeEvent.isComposing || event.keyCode === 229) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const hit = hits[current];
    if (step !== undefined && hits.length > 0) {
      event.preventDefault();
      setChosen((current + step + hits.length) % hits.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!isCurrent) setOpensFirst(true);
      else if (hit) open(hit);
    }
  };

  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself.
    <dialog
      ref={dialog}
      className="dialog search"
      aria-label={text.searchLabel}
      onClose={onClosed}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <div className="search-head">
        <SearchIcon aria-hidden="true" />
        <input
          role="combobox"
          aria-expanded={hits.length > 0}
          aria-controls={`${id}list`}
          aria-activedescendant={hits.length > 0 ? `${id}${current}` : undefined}
          aria-autocomplete="list"
          aria-label={text.searchLabel}
          placeholder={text.searchPlaceholder}
          autoComplete="off"
          spellCheck={false}
          dir="auto"
          value={query}
          autoFocus
          onChange={(event) => {
            setQuery(event.target.value);
            setChosen(0);
            setOpensFirst(false);
          }}
          onKeyDown={onKeyDown}
        />
        <IconButton label={close} onClick={() => dialog.current?.close()}>
          <X />
        </IconButton>
      </div>
      <div
        ref={list}
        id={`${id}list`}
        className="search-list"
        role="listbox"
        aria-label={isEmpty ? text.recent : text.results}
      >
        {isEmpty && hits.length > 0 && (
          <p className="search-name" role="presentation">
            {text.recent}
          </p>
        )}
        {hits.map((hit, at) => (
          // biome-ignore lint/a11y/useKeyWithClickEvents: the field has the focus and the keys.
          // biome-ignore lint/a11y/useFocusableInteractive: the field points to it with aria-activedescendant.
          <div
            key={`${hit.conversation} ${hit.message}`}
            id={`${id}${at}`}
            data-at={at}
            className="search-hit"
            role="option"
            aria-selected={at === current}
            onMouseMove={() => setChosen(at)}
            onClick={() => open(hit)}
          >
            <MessageSquare aria-hidden="true" />
            <p className="search-title" dir="auto">
              <Marked text={hit.title} query={marked} />
            </p>
            {hit.message !== undefined && (
              <p className="search-excerpt" dir="auto">
                <Marked text={hit.excerpt ?? ""} query={marked} />
              </p>
            )}
          </div>
        ))}
      </div>
      <SearchNote query={query.trim()} state={search} />
      <p className="search-foot">{text.searchKeys}</p>
    </dialog>
  );
}

/** What there is to say besides the hits. Screen readers are told how many there are. */
function SearchNote({ query, state }: { query: string; state: ReturnType<typeof useSearch> }) {
  const text = useWords(words);
  const isNothing = query !== "" && state.name === "found" && state.found.length === 0;
  return (
    <div role="status">
      {isNothing && (
        <div className="search-note">
          <p>{text.nothingFound(state.query)}</p>
          <p>{text.nothingFoundNote}</p>
        </div>
      )}
      {query !== "" && state.name === "failed" && <p className="search-note">{text.searchFailed}</p>}
      {query !== "" && state.name === "found" && state.found.length > 0 && (
        <p className="visually-hidden">{text.found(state.found.length)}</p>
      )}
    </div>
  );
}

function Marked({ text, query }: { text: string; query: string }) {
  return markWords(text, query).map(({ text, found }, at) =>
    // biome-ignore lint/suspicious/noArrayIndexKey: pieces of one text have no other name than their place.
    found ? <mark key={at}>{text}</mark> : text,
  );
}

function recentHits(list: readonly { id: string; title: string; updated_ms: number }[]): Hit[] {
  const newest = [...list].sort((a, b) => b.updated_ms - a.updated_ms).slice(0, RECENT);
  return newest.map(({ id, title }) => ({ conversation: id, title }));
}
