/**
 * Turns the page's styles into those of an element: what follows the screen's width follows the element's own, and the
 * size of text follows `--corral-rem`, because the app may have changed what a `rem` is. Made once for all chats.
 */
import pageCss from "../style/index.css?inline";
import embedCss from "./embed.css?inline";

const PX_PER_REM = 16;
/** A length in `rem`, or what stands before a block of queries: no `var()` is allowed there. */
const REM = /@(?:media|container)[^{]*|(?<![\w.#])(-?(?:\d+\.?\d*|\.\d+))rem\b/g;

let sheet: CSSStyleSheet | undefined;

/** The styles of every `<corral-chat>`. A page's Content-Security-Policy need not allow them: they are no inline styles. */
export function chatStyles(): CSSStyleSheet {
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(forElement(pageCss + embedCss));
  }
  return sheet;
}

/** Styles that follow the width of the nearest container, and `--corral-rem`. */
export function forElement(css: string): string {
  return withContainers(css).replace(REM, (found, length?: string) =>
    length === undefined ? found : `calc(${length} * var(--corral-rem, 1rem))`,
  );
}

/** Writes each `@media` of widths as `@container`. */
function withContainers(css: string): string {
  let out = "";
  let rest = css;
  for (let at = rest.indexOf("@media"); at !== -1; at = rest.indexOf("@media")) {
    const open = rest.indexOf("{", at);
    const close = endOfBlock(rest, open);
    const block = rest.slice(open, close);
    out += rest.slice(0, at);
    for (const query of rest.slice(at + "@media".length, open).split(",")) out += rule(query.trim(), block);
    rest = rest.slice(close);
  }
  return out + rest;
}

/** One query with its block. Its features of width become a container's; the others stay. */
function rule(query: string, block: string): string {
  const features = query.split(/\s+and\s+/);
  const isWidth = (feature: string) => /^\([^()]*\bwidth\b[^()]*\)$/.test(feature);
  const widths = features.filter(isWidth);
  const others = features.filter((feature) => !isWidth(feature));
  if (widths.length === 0) return `@media ${query} ${block}`;
  const inPx = (feature: string) =>
    feature.replace(/([\d.]+)rem/g, (_, length: string) => `${Number(length) * PX_PER_REM}px`);
  const inside = `@container ${widths.map(inPx).join(" and ")} ${block}`;
  return others.length === 0 ? inside : `@media ${others.join(" and ")} {${inside}}`;
}

/** The place behind the brace that ends the block which begins at `open`. */
function endOfBlock(css: string, open: number): number {
  let depth = 0;
  for (let at = open; at < css.length; at++) {
    if (css[at] === "{") depth += 1;
    else if (css[at] === "}") depth -= 1;
    if (depth === 0) return at + 1;
  }
  return css.length;
}
