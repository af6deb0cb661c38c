/** Finds the words of a query in a text, so that they can be marked. Pure. */

export interface Piece {
  text: string;
  found: boolean;
}

/** The text in pieces, in order: those that are a word of the query, in either case, and those between them. */
export function markWords(text: string, query: string): Piece[] {
  // The longest first: of "a" and "ab" the second is found in "abc".
  const words = query.split(/\s+/).filter((word) => word !== "");
  if (words.length === 0) return [{ text, found: false }];
  const longestFirst = words.sort((a, b) => b.length - a.length);
  const pattern = new RegExp(`(${longestFirst.map(escaped).join("|")})`, "giu");
  const pieces = text.split(pattern).map((piece, at) => ({ text: piece, found: at % 2 === 1 }));
  return pieces.filter((piece) => piece.text !== "");
}

function escaped(word: string): string {
  return word.replaceAll(/[.*+?^${}()|[\]\\/]/g, "\\$&");
}
