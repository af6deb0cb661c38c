/** Promises about the styles of the element, on the styles that they are made from. */
import { expect, test } from "vitest";
import { forElement } from "../../src/embed/styles";

test("a query for the screen's width asks for the element's", () => {
  expect(forElement("a{b:c}@media (max-width: 34rem){d{e:f}}g{h:i}")).toBe(
    "a{b:c}@container (max-width: 544px) {d{e:f}}g{h:i}",
  );
});

test("a range of widths as minifiers write it is one, too", () => {
  expect(forElement("@media (width<48rem){a{b:c}}")).toBe("@container (width<768px) {a{b:c}}");
});

test("a query for anything else stays", () => {
  const css = "@media (prefers-color-scheme: dark) {a{b:c}}@media (max-height: 20rem) {a{b:c}}";
  expect(forElement(css)).toBe(css);
});

test("of a list of queries each becomes a rule of its own", () => {
  expect(forElement("@media (max-width: 34rem), (pointer: coarse) {a{b:c}}")).toBe(
    "@container (max-width: 544px) {a{b:c}}@media (pointer: coarse) {a{b:c}}",
  );
});

test("a query for a width and something else asks both", () => {
  expect(forElement("@media (pointer: coarse) and (max-width: 10rem) {a{b:c}}")).toBe(
    "@media (pointer: coarse) {@container (max-width: 160px) {a{b:c}}}",
  );
});

test("blocks within a block stay within it", () => {
  expect(forElement("@media (width<1rem){@supports (a:b){c{d:e}}f{g:h}}i{j:k}")).toBe(
    "@container (width<16px) {@supports (a:b){c{d:e}}f{g:h}}i{j:k}",
  );
});

test("every length follows the size of text that the app sets", () => {
  expect(forElement("a{margin:-.5rem 0 1.25rem;width:calc(100% - 2rem)}")).toBe(
    "a{margin:calc(-.5 * var(--corral-rem, 1rem)) 0 calc(1.25 * var(--corral-rem, 1rem));" +
      "width:calc(100% - calc(2 * var(--corral-rem, 1rem)))}",
  );
});

test("a query keeps its lengths, where no variable may stand", () => {
  expect(forElement("@media (max-height: 20rem){a{b:1rem}}")).toBe(
    "@media (max-height: 20rem) {a{b:calc(1 * var(--corral-rem, 1rem))}}",
  );
});
