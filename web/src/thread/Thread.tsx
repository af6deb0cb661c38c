/**
 * The branch of the open conversation that is shown, or what stands in its place. A growing answer draws its own row
 * again and no other.
 */
import { type RefObject, useMemo, useRef } from "react";
import { usePage, usePageState } from "../app/context";
import { runningAnswer } from "../app/page";
import type { PageState, Pending } from "../app/state";
import { useWords } from "../app/words";
import { type Chat, openAnswers } from "../client";
import { lastLeftOut } from "./context";
import { OlderMessages } from "./OlderMessages";
import { PendingQuestion } from "./PendingQuestion";
import { LoadFailed, Loading, SignedOut } from "./Placeholder";
import { grouped, RowGroup, useFirstNumber } from "./RowGroup";
import { isEmpty, threadRows } from "./rows";
import { BusyContext, type ThreadEnd, ThreadEndContext } from "./useAnswer";
import { useReveal } from "./useReveal";
import { Welcome } from "./Welcome";
import { words } from "./words";

interface ThreadProps {
  scroller: RefObject<HTMLElement | null>;
  /** Scrolls to the end, and stays there. */
  toEnd: () => void;
}

export function Thread({ scroller, toEnd }: ThreadProps) {
  const open = usePageState((state) => state.open);
  const chat = usePageState((state) => (open === undefined ? undefined : state.chat.chats.get(open)));
  const outbox = usePageState((state) => state.outbox.filter(({ conversation }) => conversation === open));
  const loading = usePageState((state) => state.loading);
  const loadError = usePageState((state) => state.loadError);
  const signedOut = usePageState((state) => state.signedOut);
  const nothing = usePageState(isEmpty);
  const end = useMemo(
    (): ThreadEnd => ({ toEnd, isAtEnd: () => isAtEnd(scroller.current) }),
    [toEnd, scroller],
  );
  if (nothing && signedOut) return <SignedOut />;
  if (nothing && open !== undefined && loadError) return <LoadFailed conversation={open} error={loadError} />;
  if (nothing && open !== undefined && loading) return <Loading />;
  if (nothing) return <Welcome />;
  return (
    <ThreadEndContext value={end}>
      <Log key={open ?? "new"} chat={chat} outbox={outbox} scroller={scroller} />
    </ThreadEndContext>
  );
}

/** Closer to the end than this counts as reading the end. */
const NEAR_END_PX = 32;

function isAtEnd(scroller: HTMLElement | null): boolean {
  if (!scroller) return true;
  return scroller.scrollHeight - scroller.clientHeight - scroller.scrollTop <= NEAR_END_PX;
}

interface LogProps {
  /** Missing for a conversation that the server has not taken yet. */
  chat: Chat | undefined;
  outbox: readonly Pending[];
  scroller: RefObject<HTMLElement | null>;
}

function Log({ chat, outbox, scroller }: LogProps) {
  const text = useWords(words);
  const list = useRef<HTMLDivElement>(null);
  const leaf = usePageState(({ leaves }) => (chat ? leaves.get(chat.id) : undefined));
  const older = usePageState((state) => (chat ? state.older.get(chat.id) : undefined));
  const busy = usePageState((state) => runningAnswer(state) !== undefined);
  const leftOut = usePageState(lastLeftOut);
  const edited = usePageState(({ editing }) => editing);
  const waiting = usePageState((state) => waitingAnswers(state, chat?.id));
  const { rows, pending } = useMemo(() => threadRows(chat, leaf, outbox), [chat, leaf, outbox]);
  const ids = useMemo(() => rows.map(({ message }) => message.id), [rows]);
  const wanted = usePageState(({ focusMessage }) => focusMessage);
  const first = useReveal(ids, list, scroller, wanted);
  const firstNumber = useFirstNumber(ids);
  const groups = grouped(
    rows.slice(first).map((row, at, shown) => ({
      conversation: chat?.id ?? "",
      row,
      waits: row.next !== undefined && waiting.includes(row.next),
      isEdited: row.message.id === edited,
      isLast: pending.length === 0 && at === shown.length - 1,
      isCutBelow: row.message.id === leftOut,
    })),
    firstNumber + first,
  );
  return (
    <BusyContext value={busy}>
      <div ref={list} className="thread" role="log" aria-label={text.conversation} aria-live="off">
        {chat && older !== undefined && first === 0 && (
          <OlderMessages conversation={chat.id} before={older} scroller={scroller} />
        )}
        {chat &&
          groups.map(({ key, rows }, at) => (
            <RowGroup key={key} rows={rows} isNewest={pending.length === 0 && at === groups.length - 1} />
          ))}
        {pending.map((message) => (
          <PendingQuestion key={message.id} pending={message} />
        ))}
        {chat && <RefreshFailed conversation={chat.id} />}
      </div>
    </BusyContext>
  );
}

/** The answers that wait behind another one. */
function waitingAnswers({ chat }: PageState, conversation: string | undefined): string[] {
  const open = conversation === undefined ? [] : openAnswers(chat, conversation);
  return open.filter(({ status }) => status === "waiting").map(({ id }) => id);
}

/** The messages are there, but not the newest ones. */
function RefreshFailed({ conversation }: { conversation: string }) {
  const text = useWords(words);
  const page = usePage();
  const failed = usePageState(({ loadError }) => loadError !== undefined);
  if (!failed) return null;
  return (
    <p className="older">
      <span>{text.refreshFailed}</span>
      <button type="button" className="link-button" onClick={() => page.open(conversation)}>
        {text.tryAgain}
      </button>
    </p>
  );
}
