/**
 * Bare addresses end at Chinese punctuation, and at Chinese letters right after a host: `https://example.com。后面`
 * and `https://example.com后面` link to the same place.
 */

import type { Link, RootContent } from "mdast";
import type { Code, Construct, Effects, Extension, State, Tokenizer } from "micromark-util-types";

const STOPS = /[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65“”‘’…—]/;
const LETTER = /[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]/;
const HOST = /^(?:https?:\/\/|www\.)[^/?#]*\.[a-z]{2,}$/i;
const LITERALS = new Set(["wwwAutolink", "protocolAutolink"]);

/** The extension with every autolink literal in it ending where Chinese text begins. */
export function withAutolinkEnds(extension: Extension): Extension {
  const { text } = extension;
  if (!text) return extension;
  const ended = Object.entries(text).map(([code, constructs]) => {
    const list = Array.isArray(constructs) ? constructs : [constructs];
    return [code, list.map((each) => (each && LITERALS.has(each.name ?? "") ? ending(each) : each))];
  });
  return { ...extension, text: Object.fromEntries(ended) };
}

function ending(construct: Construct): Construct {
  return { ...construct, tokenize: endingTokenizer(construct.tokenize) };
}

/**
 * Shows the end of the text to the tokenizer where the address has to end. Leaving the tokenizer, and every attempt
 * that it makes on the way, the character is again the one in the text.
 */
function endingTokenizer(tokenize: Tokenizer): Tokenizer {
  return function tokenizeEnding(effects, ok, nok) {
    const from = this.now();
    let real: Code = null;
    let over = false;
    const seen = (code: Code): Code => {
      if (code === null || code < 0x80) return code;
      const char = String.fromCharCode(code);
      if (STOPS.test(char)) return null;
      const afterHost = LETTER.test(char) && HOST.test(this.sliceSerialize({ start: from, end: this.now() }));
      return afterHost ? null : code;
    };
    const step = (state: State): State => {
      return (code) => {
        real = code;
        const next = state(seen(code));
        return over || next === undefined ? next : step(next);
      };
    };
    const leave = (state: State): State => {
      return () => {
        over = true;
        return state(real);
      };
    };
    const restoring = (construct: Construct): Construct => ({
      ...construct,
      tokenize(_effects, ok, nok) {
        return construct.tokenize.call(
          this,
          shown,
          () => ok(real),
          () => nok(real),
        );
      },
    });
    const shown: Effects = {
      ...effects,
      attempt: (construct, ok, nok) => effects.attempt(restoring(construct as Construct), ok, nok),
      check: (construct, ok, nok) => effects.check(restoring(construct as Construct), ok, nok),
    };
    return step(tokenize.call(this, shown, leave(ok), leave(nok)));
  };
}

/** Some addresses are found only in the finished tree. They end at the same places. */
export function cutAutolinks(nodes: RootContent[]): void {
  for (let at = 0; at < nodes.length; at += 1) {
    const node = nodes[at] as RootContent;
    const cut = node.type === "link" ? lengthOfAddress(node) : undefined;
    if (node.type === "link" && cut !== undefined) {
      const [text] = node.children;
      if (text?.type !== "text") continue;
      const rest = text.value.slice(cut);
      node.url = node.url.slice(0, node.url.length - rest.length);
      text.value = text.value.slice(0, cut);
      nodes.splice(at + 1, 0, { type: "text", value: rest });
    } else if ("children" in node) {
      cutAutolinks(node.children as RootContent[]);
    }
  }
}

/** Where the address of a bare link has to end, if before the end of its text. */
function lengthOfAddress({ url, children }: Link): number | undefined {
  const [text] = children;
  if (children.length !== 1 || text?.type !== "text" || !url.endsWith(text.value)) return undefined;
  const { value } = text;
  if (!/^(?:https?:\/\/|www\.)/i.test(value)) return undefined;
  for (let at = 1; at < value.length; at += 1) {
    const char = value.charAt(at);
    if (STOPS.test(char) || (LETTER.test(char) && HOST.test(value.slice(0, at)))) return at;
  }
  return undefined;
}
