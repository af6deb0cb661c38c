/** Characters as micromark counts them, and the tokens of formulas. */

export const DOLLAR = 36;
export const BACKSLASH = 92;
export const PAREN_OPEN = 40;
export const PAREN_CLOSE = 41;
export const BRACKET_OPEN = 91;
export const BRACKET_CLOSE = 93;

export type Code = number | null;

export interface FormulaToken {
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

export const isLineEnd = (code: Code): boolean => code !== null && code < -2;
export const isSpace = (code: Code): boolean => code === 32 || code === -1 || code === -2;
export const isAlphanumeric = (code: Code): boolean =>
  code !== null && code < 128 && /[0-9A-Za-z]/.test(String.fromCharCode(code));
