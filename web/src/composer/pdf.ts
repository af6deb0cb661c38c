/**
 * The text of a PDF, by pdf.js in a worker of its own. Loaded only when somebody adds a PDF. Runs no scripts of the
 * document, evaluates nothing and fetches nothing but its own parts: Chinese, Japanese and Korean PDFs name tables of
 * characters that come with pdf.js.
 */
import * as pdfjs from "pdfjs-dist/legacy/build/pdf.mjs";
import workerUrl from "pdfjs-dist/legacy/build/pdf.worker.min.mjs?url";
import type { FileProblem } from "../app/state";

export type PdfRead =
  | { text: string /** Pages whose text this is. */; pages: number /** Of so many. */; total: number }
  | { problem: Extract<FileProblem, `pdf_${string}`> };

export interface PdfOptions {
  onPage: (done: number, total: number) => void;
  /** Whether there is room for this text. Pages after the first one that does not fit are left out. */
  hasRoom: (text: string) => boolean;
  signal: AbortSignal;
}

const CHARACTER_TABLES = import.meta.glob<string>("/node_modules/pdfjs-dist/cmaps/*.bcmap", {
  query: "?url",
  import: "default",
  eager: true,
});

pdfjs.GlobalWorkerOptions.workerSrc = new URL(workerUrl, import.meta.url).href;

/** Hands pdf.js its tables by name. It asks for fonts, too, which text does not need. */
class CharacterTables {
  async fetch({ filename }: { kind: string; filename: string }): Promise<Uint8Array> {
    const url = CHARACTER_TABLES[`/node_modules/pdfjs-dist/cmaps/${filename}`];
    if (url === undefined) throw new Error(`there is no ${filename} here`);
    const response = await fetch(new URL(url, import.meta.url));
    return new Uint8Array(await response.arrayBuffer());
  }
}

export async function readPdf(data: Uint8Array, { onPage, hasRoom, signal }: PdfOptions): Promise<PdfRead> {
  const task = pdfjs.getDocument({
    data,
    isEvalSupported: false,
    BinaryDataFactory: CharacterTables,
    useWorkerFetch: false,
    verbosity: pdfjs.VerbosityLevel.ERRORS,
  });
  try {
    const document = await task.promise;
    const total = document.numPages;
    let text = "";
    let pages = 0;
    for (let number = 1; number <= total; number++) {
      signal.throwIfAborted();
      const page = await document.getPage(number);
      const next = joined(text, await pageText(page));
      page.cleanup();
      if (text !== "" && !hasRoom(next)) break;
      text = next;
      pages = number;
      onPage(number, total);
    }
    return text === "" ? { problem: "pdf_no_text" } : { text, pages, total };
  } catch (error) {
    signal.throwIfAborted();
    const isLocked = error instanceof Error && error.name === "PasswordException";
    return { problem: isLocked ? "pdf_password" : "pdf_broken" };
  } finally {
    void task.destroy();
  }
}

async function pageText(page: pdfjs.PDFPageProxy): Promise<string> {
  const { items } = await page.getTextContent();
  const pieces = items.map((item) => ("str" in item ? item.str + (item.hasEOL ? "\n" : "") : ""));
  return (
    pieces
      .join("")
      // biome-ignore lint/suspicious/noControlCharactersInRegex: broken fonts have them.
      .replaceAll(/[\x00-\x08\x0b-\x1f]/g, "")
      .replaceAll(/[ \t]+\n/g, "\n")
      .replaceAll(/\n{3,}/g, "\n\n")
      .trim()
  );
}

function joined(before: string, page: string): string {
  if (before === "" || page === "") return before + page;
  return `${before}\n\n${page}`;
}
