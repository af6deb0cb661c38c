/**
 * Code in chunks of whole lines, as it arrives: a chunk that is full never changes, so that a growing block of code
 * costs the same for each frame, however long it is.
 */

/** A chunk ends after the line that makes it this long. */
const CHUNK = 4096;

export interface CodeChunk {
  /** Without the line feed at its end. */
  text: string;
  lines: number;
  /** The length of its longest line. */
  columns: number;
}

export class CodeChunks {
  #code = "";
  #read = 0;
  #full: CodeChunk[] = [];

  /** The chunks of the code, which may continue the code before. */
  read(code: string): CodeChunk[] {
    if (!code.startsWith(this.#code)) {
      this.#read = 0;
      this.#full = [];
    }
    this.#code = code;
    for (let end = this.#chunkEnd(); end !== undefined; end = this.#chunkEnd()) {
      this.#full.push(chunk(code.slice(this.#read, end)));
      this.#read = end;
    }
    const rest = code.slice(this.#read);
    return rest === "" && this.#full.length > 0 ? this.#full.slice() : [...this.#full, chunk(rest)];
  }

  /** After the first line feed that makes the chunk full. A line that is longer than two chunks is cut. */
  #chunkEnd(): number | undefined {
    const newline = this.#code.indexOf("\n", this.#read + CHUNK - 1);
    const longest = this.#read + 2 * CHUNK;
    if (newline >= 0 && newline < longest) return newline + 1;
    if (this.#code.length <= longest) return undefined;
    const before = this.#code.lastIndexOf("\n", longest);
    if (before >= this.#read) return before + 1;
    const last = this.#code.charCodeAt(longest - 1);
    return last >= 0xd800 && last < 0xdc00 ? longest - 1 : longest;
  }
}

function chunk(slice: string): CodeChunk {
  const text = slice.endsWith("\n") ? slice.slice(0, -1) : ` ${slice}`.slice(1);
  const lines = text.split("\n");
  return { text, lines: lines.length, columns: Math.max(...lines.map(({ length }) => length)) };
}
