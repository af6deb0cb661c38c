/**
 * Formulas in Markdown: `$$...$$`, `\[...\]` and `\(...\)`, and `$...$` where it cannot be a price.
 *
 * Written here because remark-math, the usual one, knows no `\(`, lets blank lines and text beside `$$` undo a formula, and takes
 * "$5 and $10" for one. A formula that is not closed stays text, or, as a block, is marked as open.
 */

import type { Extension as FromMarkdown, Token as MdastToken } from "mdast-util-from-markdown";
import type { Construct, Effects, Extension, State, TokenizeContext } from "micromark-util-types";

const DOLLAR = 36;
const BACKSLASH = 92;
const PAREN_OPEN = 40;
const PAREN_CLOSE = 41;
const BRACKET_OPEN = 91;
const BRACKET_CLOSE = 93;

type Code = number | null;

interface FormulaToken {
  display?: boolean;
  closed?: boolean;
}

declare module "micromark-util-types" {
  interface TokenTypeMap {
    formulaText: "formulaText";
    formulaFlow: "formulaFlow";
    formulaMarker: "formulaMarker";
    formulaData: "formulaData";
  }
  interface Token extends FormulaToken {}
}

declare module "mdast" {
  /** Its value is the LaTeX. */
  interface Formula extends Literal {
    type: "formula";
    display: boolean;
    closed: boolean;
  }
  interface RootContentMap {
    formula: Formula;
  }
}

const isLineEnd = (code: Code): boolean => code !== null && code < -2;
const isSpace = (code: Code): boolean => code === 32 || code === -1 || code === -2;
const isAlphanumeric = (code: Code): boolean =>
  code !== null && code < 128 && /[0-9A-Za-z]/.test(String.fromCharCode(code));

/** Per text, the markers that are known to close nothing further on: without it, many `\(` would take n² steps. */
const unclosed = new WeakMap<TokenizeContext, Set<string>>();

const text: Construct = {
  name: "formulaText",
  previous: (code) => code !== DOLLAR,
  tokenize(effects, ok, nok) {
    const context = this;
    let size = 0;
    let close: Code = DOLLAR;
    let seen = 0;
    let last: Code = null;
    let written = "";
    return (code) => {
      if (context.previous === DOLLAR && code === DOLLAR) return nok(code);
      effects.enter("formulaText");
      effects.enter("formulaMarker");
      if (code === DOLLAR) return dollars(code);
      effects.consume(code);
      return bracket;
    };

    function bracket(code: Code): State | undefined {
      if (code !== PAREN_OPEN && code !== BRACKET_OPEN) return nok(code);
      close = code === PAREN_OPEN ? PAREN_CLOSE : BRACKET_CLOSE;
      effects.consume(code);
      return begin;
    }

    function dollars(code: Code): State | undefined {
      if (code === DOLLAR) {
        size += 1;
        effects.consume(code);
        return dollars;
      }
      return begin(code);
    }

    function begin(code: Code): State | undefined {
      effects.exit("formulaMarker");
      if (unclosed.get(context)?.has(key())) return nok(code);
      if (size === 1 && (code === null || isSpace(code) || isLineEnd(code))) return nok(code);
      return between(code);
    }

    function key(): string {
      return `${close}:${size}`;
    }

    function fail(code: Code): State | undefined {
      if (size !== 1) unclosed.set(context, (unclosed.get(context) ?? new Set()).add(key()));
      return nok(code);
    }

    function between(code: Code): State | undefined {
      if (code === null || (size === 1 && isLineEnd(code))) return fail(code);
      if (isLineEnd(code)) {
        effects.enter("lineEnding");
        effects.consume(code);
        effects.exit("lineEnding");
        return between;
      }
      if (code === DOLLAR && size > 0) {
        if (written === "") return nok(code);
        effects.enter("formulaMarker");
        seen = 0;
        return closingDollars(code);
      }
      if (code === BACKSLASH && size === 0) return closeOrEscape(code);
      effects.enter("formulaData");
      return data(code);
    }

    function data(code: Code): State | undefined {
      if (code === null || isLineEnd(code) || (code === DOLLAR && size > 0)) {
        effects.exit("formulaData");
        return between(code);
      }
      if (code === BACKSLASH) {
        if (size > 0) return escaped(code);
        effects.exit("formulaData");
        return closeOrEscape(code);
      }
      return take(code, data);
    }

    function closeOrEscape(code: Code): State | undefined {
      return effects.check(
        closing(close),
        (next) => (written === "" ? nok(next) : marker(next)),
        (next) => {
          effects.enter("formulaData");
          return escaped(next);
        },
      )(code);
    }

    function escaped(code: Code): State | undefined {
      return take(code, (next) => (next === null || isLineEnd(next) ? data(next) : take(next, data)));
    }

    function take(code: Code, then: State): State {
      last = code;
      if (written.length < 64) written += code !== null && code > 0 ? String.fromCharCode(code) : " ";
      effects.consume(code);
      return then;
    }

    function marker(code: Code): State | undefined {
      effects.enter("formulaMarker");
      effects.consume(code);
      return (bracket) => {
        effects.consume(bracket);
        return done;
      };
    }

    function closingDollars(code: Code): State | undefined {
      if (code === DOLLAR && seen < size) {
        seen += 1;
        effects.consume(code);
        return closingDollars;
      }
      if (size === 1 && (isSpace(last) || isAlphanumeric(code) || code === DOLLAR || isPrice(written)))
        return nok(code);
      return seen === size ? done(code) : nok(code);
    }

    function done(code: Code): State | undefined {
      effects.exit("formulaMarker");
      const token = effects.exit("formulaText");
      token.display = size > 1 || close === BRACKET_CLOSE;
      token.closed = true;
      return ok(code);
    }
  },
};

/** "5 to 10", "5/month or": an amount of money and words. */
function isPrice(text: string): boolean {
  return /^\d[\d.,]*(?:[kKmMbB]|\/\w+)?\s+[A-Za-z]{2,}/.test(text) || /^\d[\d.,]*[-–—]$/.test(text);
}

/** A backslash and the bracket. */
function closing(bracket: Code): Construct {
  return {
    partial: true,
    tokenize(effects: Effects, ok: State, nok: State): State {
      return (code) => {
        effects.enter("formulaMarker");
        effects.consume(code);
        return (next) => {
          if (next !== bracket) return nok(next);
          effects.consume(next);
          effects.exit("formulaMarker");
          return ok;
        };
      };
    },
  };
}

/** The next line, unless it belongs to no container that the formula is in. */
const nextLine: Construct = {
  partial: true,
  tokenize(effects, ok, nok) {
    return (code) => {
      if (code === null) return nok(code);
      effects.enter("lineEnding");
      effects.consume(code);
      effects.exit("lineEnding");
      return (start) => (this.parser.lazy[this.now().line] ? nok(start) : ok(start));
    };
  },
};

const flow: Construct = {
  name: "formulaFlow",
  concrete: true,
  tokenize(effects, ok, nok) {
    const context = this;
    let size = 0;
    let inline = false;
    let first = true;
    let blank = true;
    return (code) => {
      effects.enter("formulaFlow");
      effects.enter("formulaMarker");
      if (code === DOLLAR) return dollars(code);
      effects.consume(code);
      return (bracket) => {
        if (bracket !== BRACKET_OPEN) return nok(bracket);
        effects.consume(bracket);
        return opened;
      };
    };

    function dollars(code: Code): State | undefined {
      if (code === DOLLAR) {
        size += 1;
        effects.consume(code);
        return dollars;
      }
      return size < 2 ? nok(code) : opened(code);
    }

    function opened(code: Code): State | undefined {
      effects.exit("formulaMarker");
      return content(code);
    }

    function content(code: Code): State | undefined {
      if (code === null || isLineEnd(code)) return lineEnd(code);
      if (code === (size > 0 ? DOLLAR : BACKSLASH)) {
        return effects.attempt(closer(size), afterClose, data)(code);
      }
      return data(code);
    }

    function data(code: Code): State | undefined {
      effects.enter("formulaData");
      return dataRest(code, true);
    }

    function dataRest(code: Code, begins = false): State | undefined {
      if (code === null || isLineEnd(code)) {
        effects.exit("formulaData");
        return lineEnd(code);
      }
      if (!begins && code === (size > 0 ? DOLLAR : BACKSLASH)) {
        effects.exit("formulaData");
        return content(code);
      }
      if (!isSpace(code)) blank = false;
      effects.consume(code);
      return dataRest;
    }

    function lineEnd(code: Code): State | undefined {
      if (first) inline = !blank;
      if (first && context.interrupt) return ok(code);
      if (!first && blank && inline) return end(code, false);
      first = false;
      blank = true;
      return effects.attempt(nextLine, content, (next) => end(next, false))(code);
    }

    function afterClose(code: Code): State | undefined {
      if (isSpace(code)) {
        effects.enter("whitespace");
        return spaces(code);
      }
      return closed(code);
    }

    function spaces(code: Code): State | undefined {
      if (isSpace(code)) {
        effects.consume(code);
        return spaces;
      }
      effects.exit("whitespace");
      return closed(code);
    }

    function closed(code: Code): State | undefined {
      const atEnd = code === null || isLineEnd(code);
      // With text beside it, a formula on one line is part of a paragraph. An empty one is none.
      if (first && (!atEnd || blank)) return nok(code);
      if (atEnd) return end(code, true);
      end(code, true);
      effects.enter("content");
      effects.enter("chunkContent", { contentType: "content" });
      return remainder(code);
    }

    /** The text after a formula of several lines is a paragraph. */
    function remainder(code: Code): State | undefined {
      if (code !== null && !isLineEnd(code)) {
        effects.consume(code);
        return remainder;
      }
      effects.exit("chunkContent");
      effects.exit("content");
      return ok(code);
    }

    function end(code: Code, isClosed: boolean): State | undefined {
      const token = effects.exit("formulaFlow");
      token.display = true;
      token.closed = isClosed;
      return code === null || isLineEnd(code) ? ok(code) : undefined;
    }
  },
};

/** The closing marker of a block: as many dollars as opened it, or `\]`. */
function closer(size: number): Construct {
  return {
    partial: true,
    tokenize(effects: Effects, ok: State, nok: State): State {
      let seen = 0;
      return (code) => {
        effects.enter("formulaMarker");
        return size > 0 ? dollars(code) : backslash(code);
      };

      function dollars(code: Code): State | undefined {
        if (code === DOLLAR && seen < size) {
          seen += 1;
          effects.consume(code);
          return dollars;
        }
        return seen < size ? nok(code) : finish(code);
      }

      function backslash(code: Code): State | undefined {
        effects.consume(code);
        return (bracket) => {
          if (bracket !== BRACKET_CLOSE) return nok(bracket);
          effects.consume(bracket);
          return finish;
        };
      }

      function finish(code: Code): State | undefined {
        effects.exit("formulaMarker");
        return ok(code);
      }
    },
  };
}

/** How micromark finds formulas. */
export const formulaSyntax: Extension = {
  flow: { [DOLLAR]: flow, [BACKSLASH]: flow },
  text: { [DOLLAR]: text, [BACKSLASH]: text },
};

/** The nodes that formulas become. */
export const formulaNodes: FromMarkdown = {
  enter: { formulaText: enterFormula, formulaFlow: enterFormula, formulaData: enterData },
  exit: { formulaText: exitFormula, formulaFlow: exitFormula, formulaData: exitData },
};

type Handle = NonNullable<FromMarkdown["enter"]>[keyof NonNullable<FromMarkdown["enter"]>];
type Context = ThisParameterType<NonNullable<Handle>>;

function enterFormula(this: Context, token: MdastToken): void {
  this.enter({ type: "formula", value: "", display: false, closed: false }, token);
  this.buffer();
}

function exitFormula(this: Context, token: MdastToken): void {
  const value = this.resume().replace(/^\n|\n$/g, "");
  const node = this.stack.at(-1);
  if (node?.type !== "formula") throw new Error("a formula ends that has not begun");
  node.value = value;
  node.display = token.display === true;
  node.closed = token.closed === true;
  this.exit(token);
}

function enterData(this: Context, token: MdastToken): void {
  this.config.enter.data?.call(this, token);
}

function exitData(this: Context, token: MdastToken): void {
  this.config.exit.data?.call(this, token);
}
