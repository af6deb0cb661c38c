/**
 * A formula as a block, as a construct of micromark: between `$$` and `$$`, or `\[` and `\]`, on lines of its own. Its lines
 * may look like anything. One that is not closed runs to the end, or, when text follows the opening, to a blank line.
 */
import type { Construct, Effects, State } from "micromark-util-types";
import { BACKSLASH, BRACKET_CLOSE, BRACKET_OPEN, type Code, DOLLAR, isLineEnd, isSpace } from "./mathCodes";

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

export const mathFlow: Construct = {
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
