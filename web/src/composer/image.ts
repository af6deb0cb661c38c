/**
 * Makes an image small enough to travel inside a message. It is drawn again as a JPEG, which every model server reads,
 * and which leaves behind where a photo was taken. A small PNG, as a screenshot, stays as sharp as it is.
 */

/** The longest side in pixels, and the quality. The first that fits is taken. */
export const STEPS: readonly [side: number, quality: number][] = [
  [1536, 0.85],
  [1280, 0.8],
  [1024, 0.8],
  [1024, 0.65],
  [768, 0.7],
  [768, 0.5],
  [512, 0.6],
  [384, 0.5],
];
const MAX_SIDE = 1536;

/** An image of this blob as a data URL of at most `most` characters; `undefined` when even the smallest is larger. */
export async function fitImage(blob: Blob, most: number): Promise<string | undefined> {
  const bitmap = await createImageBitmap(blob);
  try {
    if (await isPng(blob)) {
      const isSmall = Math.max(bitmap.width, bitmap.height) <= MAX_SIDE && dataUrlLength(blob) <= most;
      if (isSmall) return await dataUrl(new Blob([blob], { type: "image/png" }));
    }
    return await firstFitting(most, (side, quality) => draw(bitmap, side, quality));
  } finally {
    bitmap.close();
  }
}

/** The first step whose data URL is at most `most` characters long. */
export async function firstFitting(
  most: number,
  draw: (side: number, quality: number) => Promise<string>,
): Promise<string | undefined> {
  for (const [side, quality] of STEPS) {
    const url = await draw(side, quality);
    if (url.length <= most) return url;
  }
  return undefined;
}

/** The size of an image whose longest side becomes at most `side`. It is never made larger. */
export function scaled(width: number, height: number, side: number): [width: number, height: number] {
  const factor = Math.min(1, side / Math.max(width, height));
  return [Math.max(1, Math.round(width * factor)), Math.max(1, Math.round(height * factor))];
}

async function draw(bitmap: ImageBitmap, side: number, quality: number): Promise<string> {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = scaled(bitmap.width, bitmap.height, side);
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws no images");
  // A JPEG has no transparency.
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
  if (!blob) throw new Error("this browser writes no JPEG");
  return dataUrl(blob);
}

async function isPng(blob: Blob): Promise<boolean> {
  const [first, ...letters] = new Uint8Array(await blob.slice(0, 4).arrayBuffer());
  return first === 0x89 && String.fromCharCode(...letters) === "PNG";
}

function dataUrlLength(blob: Blob): number {
  return "data:image/png;base64,".length + 4 * Math.ceil(blob.size / 3);
}

function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
