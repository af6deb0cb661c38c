/**
 * A formula inside a line of text, as a construct of micromark: `\(...\)`, `\[...\]`, `$$...$$`, and `$...$` on one
 * line where it cannot be a price. One that is not closed stays text.
 */
import type { Construct, Effects, State, TokenizeContext } from "micromark-util-types";
import {
  BACKSLASH,
  BRACKET_CLOSE,
  BRACKET_OPEN,
  type Code,
  DOLLAR,
  isAlphanumeric,
  isLineEnd,
  isSpace,
  PAREN_CLOSE,
  PAREN_OPEN,
} from "./mathCodes";

/** Per text, the markers that are known to close nothing further on: without it, many `\(` would take n² steps. */
const unclosed = new WeakMap<TokenizeContext, Set<string>>();

export const mathText: Construct = {
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
