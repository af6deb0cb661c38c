/** The conversations in their groups. Fetches more of them when the end of the list comes into view. */
import { ChevronRight } from "lucide-react";
import { useEffect, useId, useMemo, useRef, useState } from "react";
import { usePage, usePageState } from "../app/context";
import type { PageState } from "../app/state";
import { useLanguage, useWords } from "../app/words";
import { isFinal } from "../client";
import { type Group, type GroupName, groupConversations, monthLabel } from "./groups";
import { Row } from "./Row";
import { useToday } from "./useToday";
import { words } from "./words";

/** How near the end of the list has to be for more of it to be fetched. */
const NEAR = "400px";
/** The page after the one that was fetched is asked for after so long. */
const AGAIN_MS = 250;

export function ConversationList() {
  const text = useWords(words);
  const page = usePage();
  const { conversations, state } = usePageState(({ list }) => list);
  const today = useToday();
  const groups = useMemo(() => groupConversations(conversations, today), [conversations, today]);
  if (state === "failed") {
    return (
      <div className="sidebar-note" role="alert">
        <p>{text.failed}</p>
        <button type="button" className="button" onClick={() => void page.conversations.retry()}>
          {text.tryAgain}
        </button>
      </div>
    );
  }
  if (state === "loading") return <Skeleton />;
  if (conversations.length === 0) {
    return (
      <div className="sidebar-note">
        <p>{text.nothing}</p>
        <p>{text.nothingNote}</p>
      </div>
    );
  }
  return (
    <>
      {groups.map((group) => (
        <GroupSection key={group.key} group={group} now={today} />
      ))}
      <End />
    </>
  );
}

function GroupSection({ group, now }: { group: Group; now: Date }) {
  const page = usePage();
  const heading = useId();
  const open = usePageState((state) => state.open);
  const unread = usePageState((state) => state.unread);
  const answering = usePageState(answeringConversations);
  const closedFolders = usePageState(({ preferences }) => preferences.closedFolders);
  const { name, conversations } = group;
  const label = useGroupLabel(name, now);
  const folder = name.kind === "folder" ? name.folder : undefined;
  const isClosed = folder !== undefined && closedFolders.includes(folder);
  const toggle = (folder: string) => {
    const others = closedFolders.filter((closed) => closed !== folder);
    page.setPreferences({ closedFolders: isClosed ? others : [...others, folder] });
  };
  return (
    <section className="group" aria-labelledby={heading}>
      <h2 id={heading} className="group-name">
        {folder === undefined ? (
          label
        ) : (
          <button type="button" aria-expanded={!isClosed} onClick={() => toggle(folder)}>
            <ChevronRight />
            <span dir="auto">{label}</span>
            <span className="group-count">{conversations.length}</span>
          </button>
        )}
      </h2>
      {!isClosed && (
        <ul>
          {conversations.map((conversation) => (
            <Row
              key={conversation.id}
              conversation={conversation}
              isOpen={conversation.id === open}
              isAnswering={answering.has(conversation.id)}
              isUnread={unread.has(conversation.id)}
            />
          ))}
        </ul>
      )}
    </section>
  );
}

function useGroupLabel(name: GroupName, now: Date): string {
  const text = useWords(words);
  const language = useLanguage();
  switch (name.kind) {
    case "folder":
      return name.folder;
    case "month":
      return monthLabel(name.year, name.month, now, language);
    default:
      return text[name.kind];
  }
}

/** Conversations with an answer that has not ended, as far as this page has heard. */
function answeringConversations({ chat }: PageState): Set<string> {
  const open = [...chat.answers.values()].filter(({ status }) => !isFinal(status));
  return new Set(open.flatMap(({ conversation }) => conversation ?? []));
}

/** The end of what is loaded: asks for more for as long as it is near the view and the server has it. */
function End() {
  const text = useWords(words);
  const page = usePage();
  const next = usePageState(({ list }) => list.next);
  const end = useRef<HTMLParagraphElement>(null);
  const isEnd = next === undefined;
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const element = end.current;
    if (isEnd || failed || !element) return;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const onSeen = async ([entry]: IntersectionObserverEntry[]) => {
      if (!entry?.isIntersecting) return;
      seen.unobserve(element);
      try {
        await page.conversations.more();
      } catch {
        setFailed(true);
        return;
      }
      // Observed anew, it is told of again if it is still near.
      timer = setTimeout(() => seen.observe(element), AGAIN_MS);
    };
    const seen = new IntersectionObserver((entries) => void onSeen(entries), {
      root: element.closest(".conversations"),
      rootMargin: NEAR,
    });
    seen.observe(element);
    return () => {
      seen.disconnect();
      clearTimeout(timer);
    };
  }, [page, isEnd, failed]);
  if (isEnd) return null;
  return (
    <p ref={end} className="sidebar-more">
      {failed ? (
        <>
          <span>{text.moreFailed}</span>{" "}
          <button type="button" className="link-button" onClick={() => setFailed(false)}>
            {text.tryAgain}
          </button>
        </>
      ) : (
        text.loadingMore
      )}
    </p>
  );
}

function Skeleton() {
  const text = useWords(words);
  return (
    <div className="sidebar-skeleton" role="status" aria-label={text.loading}>
      <span />
      <span />
      <span />
      <span />
    </div>
  );
}
