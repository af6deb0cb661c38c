/**
 * Draws formulas with KaTeX; loaded when the first formula appears. KaTeX builds the elements itself, never by HTML, and
 * is told to follow no links and load no images. Its style is adopted by the document or the shadow root that the
 * formula is in; its fonts belong to the document, because a shadow root cannot declare any.
 */
import katex from "katex";
import style from "katex/dist/katex.min.css?raw";

const fonts = import.meta.glob<string>("../../node_modules/katex/dist/fonts/*.woff2", {
  query: "?url",
  import: "default",
  eager: true,
});

const FACE = /@font-face\s*\{([^}]*)\}/g;

let sheet: CSSStyleSheet | undefined;

/** Whether it could be drawn. */
export function drawFormula(element: HTMLElement, tex: string, displayMode: boolean): boolean {
  try {
    katex.render(tex, element, {
      displayMode,
      throwOnError: true,
      trust: false,
      strict: "ignore",
      maxSize: 20,
      maxExpand: 500,
    });
  } catch {
    element.replaceChildren();
    return false;
  }
  adoptStyle(element.getRootNode());
  return true;
}

function adoptStyle(root: Node): void {
  const adopts = root as Partial<DocumentOrShadowRoot>;
  if (!adopts.adoptedStyleSheets) return;
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(`.corral { ${style.replaceAll(FACE, "")} }`);
    declareFonts();
  }
  if (!adopts.adoptedStyleSheets.includes(sheet)) adopts.adoptedStyleSheets.push(sheet);
}

/** The faces of KaTeX's own style, with the addresses of the files of this build. */
function declareFonts(): void {
  for (const [, face = ""] of style.matchAll(FACE)) {
    const family = /font-family:\s*"?([^;"]+)/.exec(face)?.[1];
    const file = /fonts\/([\w-]+\.woff2)/.exec(face)?.[1];
    const url = file === undefined ? undefined : fonts[`../../node_modules/katex/dist/fonts/${file}`];
    if (family === undefined || url === undefined) continue;
    const source = `url(${JSON.stringify(new URL(url, import.meta.url).href)}) format("woff2")`;
    const descriptors = {
      style: /font-style:\s*(\w+)/.exec(face)?.[1] ?? "normal",
      weight: /font-weight:\s*(\w+)/.exec(face)?.[1] ?? "normal",
      display: "block" as const,
    };
    document.fonts.add(new FontFace(family, source, descriptors));
  }
}
