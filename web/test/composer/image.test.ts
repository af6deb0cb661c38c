/** How far an image is scaled down. */
import { expect, test } from "vitest";
import { firstFitting, STEPS, scaled } from "../../src/composer/image";

test.each([
  [
    [4000, 3000, 1024],
    [1024, 768],
  ],
  [
    [3000, 4000, 1024],
    [768, 1024],
  ],
  [
    [640, 480, 1024],
    [640, 480],
  ],
  [
    [10_000, 1, 1024],
    [1024, 1],
  ],
] as const)("%j becomes %j", ([width, height, side], expected) => {
  expect(scaled(width, height, side)).toEqual(expected);
});

test("the first step that fits is taken", async () => {
  const tried: number[] = [];
  const draw = async (side: number) => {
    tried.push(side);
    return "x".repeat(side);
  };
  expect((await firstFitting(1024, draw))?.length).toBe(1024);
  expect(tried).toEqual([1536, 1280, 1024]);
});

test("an image that never fits is told", async () => {
  expect(await firstFitting(10, async () => "x".repeat(11))).toBeUndefined();
});

test("every step is smaller than the one before", () => {
  const weight = ([side, quality]: readonly [number, number]) => side * quality;
  expect([...STEPS].sort((a, b) => weight(b) - weight(a))).toEqual(STEPS);
});
