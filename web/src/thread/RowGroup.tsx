/**
 * Rows of the thread in groups of neighbours: the browser lays out a group as a whole when it comes near the view, and looks
 * at groups, not at rows, when it draws a frame. A row stays in its group whatever comes before or after it.
 */
import { memo, useMemo, useRef } from "react";
import { useWords } from "../app/words";
import { AnswerView } from "./Answer";
import { equal } from "./equal";
import { Question } from "./Question";
import type { Row } from "./rows";
import { words } from "./words";

/** Rows of a group that is full. */
const FULL = 8;
/** About how high a row is that is not laid out. */
const ROW_REM = 9;

interface RowGroupProps {
  rows: readonly RowViewProps[];
  /** What grows is in this group. */
  isNewest: boolean;
}

export const RowGroup = memo(function RowGroup({ rows, isNewest }: RowGroupProps) {
  // A size of its own: a custom property has the browser style all rows again for each one that comes.
  const style = { containIntrinsicBlockSize: `auto ${rows.length * ROW_REM}rem` };
  return (
    <div className="row-group" data-newest={isNewest} style={style}>
      {rows.map((row) => (
        <RowView key={row.row.message.id} {...row} />
      ))}
    </div>
  );
}, equal);

/** Puts rows that follow each other into groups; `number` is the first one's. */
export function grouped(
  rows: readonly RowViewProps[],
  number: number,
): { key: number; rows: RowViewProps[] }[] {
  const groups: { key: number; rows: RowViewProps[] }[] = [];
  for (const [at, row] of rows.entries()) {
    const key = Math.floor((number + at) / FULL);
    const last = groups.at(-1);
    if (last?.key === key) last.rows.push(row);
    else groups.push({ key, rows: [row] });
  }
  return groups;
}

/** The number of the first row. Rows that were there before keep theirs, so those that come above them have less. */
export function useFirstNumber(ids: readonly string[]): number {
  const numbers = useRef<ReadonlyMap<string, number>>(new Map());
  return useMemo(() => {
    const known = ids.findIndex((id) => numbers.current.has(id));
    const first = known < 0 ? 0 : (numbers.current.get(ids[known] as string) as number) - known;
    numbers.current = new Map(ids.map((id, at) => [id, first + at]));
    return first;
  }, [ids]);
}

export interface RowViewProps {
  conversation: string;
  row: Row;
  /** Of a question: its answer has not begun. */
  waits: boolean;
  isEdited: boolean;
  isLast: boolean;
  /** The model is not sent this message, and those after it. */
  isCutBelow: boolean;
}

const RowView = memo(function RowView(props: RowViewProps) {
  const { conversation, row, waits, isEdited, isLast, isCutBelow } = props;
  const text = useWords(words);
  const { message, place } = row;
  const isQuestion = message.role === "user";
  return (
    <>
      <article
        className={`row ${isQuestion ? "question" : "answer"}`}
        data-message={message.id}
        data-last={isLast}
      >
        {isQuestion ? (
          <Question
            conversation={conversation}
            message={message}
            place={place}
            waits={waits}
            isEdited={isEdited}
          />
        ) : (
          <AnswerView conversation={conversation} message={message} place={place} />
        )}
      </article>
      {isCutBelow && <p className="left-out">{text.leftOut}</p>}
    </>
  );
}, equal);
