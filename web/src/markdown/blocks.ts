/**
 * Cuts Markdown into its top-level blocks, as the text arrives. A cut depends only on the text before it, so a block
 * that is over never changes, and the blocks of a growing text are those of the whole text. Joined, the blocks are the
 * text, byte for byte.
 *
 * Where Markdown has several blocks without a blank line between them, they may stay together: a cut is made only where
 * it is certain. Two things differ from CommonMark on purpose. A blank line ends raw HTML, which is shown as text
 * anyway. And a paragraph, list, table or quote that grows very long is cut into parts, so that no part is slow to read.
 */
import {
  closesFence,
  indentOf,
  isBlank,
  isTableRule,
  type LineStart,
  type ListItem,
  type MathStart,
  startOf,
} from "./lines";

export interface Block {
  /** Where the block begins in the text; also its key. */
  at: number;
  kind: "code" | "text";
  text: string;
  /** The block is a further part of the block before it. */
  part: "paragraph" | "list" | "table" | "quote" | undefined;
  /** What to read before the text: a table's head for a further part of the table. */
  head: string;
  /** The number of the first item, for a further part of a numbered list. */
  number: number | undefined;
  /** A code block's fence is closed. */
  closed: boolean;
}

/** A long line is read in pieces of this many characters. */
const PIECE = 1024;
/** A block longer than this is cut where that does little harm,... */
const LONG = 3072;
/** ...a table only when it is longer than this, because each part of it has a head,... */
const LONG_TABLE = 4096;
/** ...and any block longer than this is cut anywhere. */
const TOO_LONG = 16_384;

type OpenKind = "none" | "paragraph" | "quote" | "list" | "footnote" | "indented" | "fence" | "math";

/** The block that still grows. Only values, so that a copy is a snapshot. */
interface OpenBlock {
  at: number;
  kind: OpenKind;
  part: Block["part"];
  head: string;
  number: number | undefined;
  /** Nothing but blank lines can follow inside this block. */
  over: boolean;
  /** The last line was blank. */
  blank: boolean;
  /** A list's marker; a fence's character; a formula's closing marker. */
  marker: string;
  /** How far lines of a list item are indented; a fence's length. */
  size: number;
  /** A formula that a blank line ends. */
  endsAtBlank: boolean;
  /** Items of a numbered list so far. */
  items: number;
  /** The line before this one, in case it is a table's head. */
  previous: string;
  inTable: boolean;
}

export class BlockSplitter {
  #text = "";
  /** Everything before this has been read for good. */
  #read = 0;
  /** `#read` is inside a line, not at its start. */
  #insideLine = false;
  #closed: Block[] = [];
  #open = opened(0, "none");

  /** The blocks that are over. The list only grows, until a text comes that does not continue the last one. */
  get closed(): readonly Block[] {
    return this.#closed;
  }

  /** Reads the text, which may continue the one before, and returns the blocks that may still change. */
  update(text: string): Block[] {
    if (!text.startsWith(this.#text)) this.#reset();
    this.#text = text;
    for (let end = this.#pieceEnd(); end !== undefined; end = this.#pieceEnd()) {
      this.#feed(text.slice(this.#read, end));
      this.#insideLine = text.charCodeAt(end - 1) !== 10;
      this.#read = end;
    }
    return this.#tail();
  }

  #reset(): void {
    this.#read = 0;
    this.#insideLine = false;
    this.#closed = [];
    this.#open = opened(0, "none");
  }

  /** Where the next complete piece ends: after a line feed, or inside a line that is long. */
  #pieceEnd(): number | undefined {
    const newline = this.#text.indexOf("\n", this.#read);
    const end = newline < 0 ? this.#text.length : newline + 1;
    if (end - this.#read > PIECE) return pieceBreak(this.#text, this.#read);
    return newline < 0 ? undefined : end;
  }

  /** Reads the unfinished line for the moment, and forgets it again. */
  #tail(): Block[] {
    const kept = this.#closed.length;
    const open = { ...this.#open };
    if (this.#read < this.#text.length) this.#feed(this.#text.slice(this.#read));
    const tail = this.#closed.splice(kept);
    if (this.#open.at < this.#text.length) tail.push(this.#block(this.#text.length));
    this.#open = open;
    return tail;
  }

  #feed(piece: string): void {
    if (this.#insideLine) this.#feedRest();
    else this.#feedLine(piece.replace(/\r?\n$/, ""));
  }

  /** A further piece of a long line. */
  #feedRest(): void {
    const { kind } = this.#open;
    if (kind === "fence") return;
    if (this.#size >= (kind === "paragraph" ? LONG : TOO_LONG)) this.#beginPart("paragraph", "paragraph");
  }

  #feedLine(line: string): void {
    const open = this.#open;
    if (open.kind === "fence" && !open.over) {
      if (closesFence(line, open.marker, open.size)) open.over = true;
    } else if (open.kind === "math" && !open.over) {
      this.#feedMath(line);
    } else if (isBlank(line)) {
      open.blank = true;
    } else {
      this.#feedText(line);
      this.#open.blank = false;
    }
    this.#open.previous = line;
  }

  #feedMath(line: string): void {
    const open = this.#open;
    if (line.includes(open.marker) || (open.endsAtBlank && isBlank(line))) open.over = true;
    else if (this.#size >= TOO_LONG) this.#beginPart("paragraph", "paragraph");
  }

  #feedText(line: string): void {
    const open = this.#open;
    const start = startOf(line);
    if (open.kind === "none" || open.over) {
      this.#begin(start);
      return;
    }
    switch (open.kind) {
      case "list":
      case "footnote":
        this.#feedList(line, start);
        return;
      case "indented":
        if (start.kind !== "indented" || this.#size >= LONG) this.#begin(start);
        return;
      default:
        if (open.blank || this.#interrupts(start, line)) this.#begin(start);
        else this.#continueText(line);
    }
  }

  /** A line that belongs to the list, ends it, or begins its next item. */
  #feedList(line: string, start: LineStart): void {
    const open = this.#open;
    const inside = indentOf(line) >= open.size;
    if (!inside && start.kind === "item" && open.kind === "list" && start.marker === open.marker) {
      this.#feedItem(start);
    } else if (!inside && (open.blank || this.#interrupts(start, line))) {
      this.#begin(start);
    } else if (this.#size >= TOO_LONG) {
      this.#beginPart("paragraph", "paragraph");
    } else if (!inside && start.kind === "item") {
      open.size = Math.min(open.size, start.offset);
    }
  }

  #feedItem(item: ListItem): void {
    const { number, items, marker } = this.#open;
    if (this.#size >= LONG) {
      this.#beginPart("list", "list");
      this.#open.marker = marker;
      this.#open.number = number === undefined ? undefined : number + items;
    }
    this.#open.items += 1;
    this.#open.size = item.offset;
  }

  /** A further line of a paragraph, table or quote. */
  #continueText(line: string): void {
    const open = this.#open;
    const head = `${open.previous}\n${line}\n`;
    if (!open.inTable && isTableRule(line) && open.previous.includes("|")) {
      open.inTable = true;
      open.head = head;
    } else if (open.inTable) {
      if (this.#size >= LONG_TABLE) this.#beginTablePart();
    } else if (open.kind === "quote" ? this.#mayCutQuote(line) : this.#size >= LONG) {
      this.#beginPart(open.kind, open.kind === "quote" ? "quote" : "paragraph");
    }
  }

  #beginTablePart(): void {
    const { head } = this.#open;
    this.#beginPart("paragraph", "table");
    this.#open.head = head;
    this.#open.inTable = true;
  }

  /** Whether a line ends what is before it without a blank line. */
  #interrupts(start: LineStart, line: string): boolean {
    const { kind, inTable } = this.#open;
    const inParagraph = kind === "paragraph" && !inTable;
    switch (start.kind) {
      case "item":
        // Inside a paragraph, only "1." begins a numbered list: other numbers may be years.
        return !start.empty && (!inParagraph || start.number === undefined || /^ {0,3}1[.)]/.test(line));
      case "rule":
        // Dashes under a paragraph make it a heading.
        return kind !== "paragraph" || !/^ {0,3}-+[ \t]*$/.test(line);
      case "quote":
        return kind !== "quote";
      case "indented":
        return inTable;
      case "text":
        return false;
      default:
        return true;
    }
  }

  #mayCutQuote(line: string): boolean {
    return this.#size >= (/^ {0,3}>[ \t]*$/.test(line) ? LONG : TOO_LONG);
  }

  get #size(): number {
    return this.#read - this.#open.at;
  }

  #begin(start: LineStart): void {
    this.#cut();
    const open = this.#open;
    switch (start.kind) {
      case "fence":
        open.kind = "fence";
        open.marker = start.char;
        open.size = start.size;
        return;
      case "math":
        this.#beginMath(start);
        return;
      case "item":
        open.kind = "list";
        open.marker = start.marker;
        open.number = start.number;
        open.size = start.offset;
        open.items = 1;
        return;
      case "heading":
      case "rule":
        open.kind = "paragraph";
        open.over = true;
        return;
      case "footnote":
        open.kind = "footnote";
        open.size = 4;
        return;
      default:
        open.kind = start.kind === "text" ? "paragraph" : start.kind;
    }
  }

  #beginMath({ close, inline, closed }: MathStart): void {
    this.#open.kind = "math";
    this.#open.marker = close;
    this.#open.endsAtBlank = inline;
    this.#open.over = closed;
  }

  /** Cuts a block that is long. What follows is a further part of it. */
  #beginPart(kind: OpenKind, part: Block["part"]): void {
    this.#cut();
    this.#open.kind = kind;
    this.#open.part = part;
  }

  /** Ends the open block before the piece that is being read. Blank lines at the very beginning go to the first block. */
  #cut(): void {
    if (this.#open.kind === "none") return;
    const block = this.#block(this.#read);
    this.#closed.push({ ...block, text: copyOf(block.text) });
    this.#open = opened(this.#read, "none");
  }

  #block(end: number): Block {
    const { at, kind, part, head, number, over } = this.#open;
    return {
      at,
      kind: kind === "fence" ? "code" : "text",
      text: this.#text.slice(at, end),
      part,
      head: part === "table" ? head : "",
      number: part === "list" ? number : undefined,
      closed: over,
    };
  }
}

function opened(at: number, kind: OpenKind): OpenBlock {
  return {
    at,
    kind,
    part: undefined,
    head: "",
    number: undefined,
    over: false,
    blank: false,
    marker: "",
    size: 0,
    endsAtBlank: false,
    items: 0,
    previous: "",
    inTable: false,
  };
}

/** The end of the piece that begins at `from`: after a sentence or a space if there is one in its second half. */
function pieceBreak(text: string, from: number): number {
  for (let at = from + PIECE; at > from + PIECE / 2; at -= 1) {
    if (/[\s。！？；，、]/.test(text.charAt(at - 1))) return at;
  }
  const last = text.charCodeAt(from + PIECE - 1);
  const splitsPair = last >= 0xd800 && last < 0xdc00;
  return from + PIECE - (splitsPair ? 1 : 0);
}

/** The same string with memory of its own: a slice would keep the whole text, once for every block. */
function copyOf(slice: string): string {
  return ` ${slice}`.slice(1);
}
