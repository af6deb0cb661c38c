/** Files that go with a message: pasted, dropped, chosen; read in the browser, and with their cost before they are sent. */
import { describe, expect, test } from "vitest";
import { describeProblem } from "../src/composer/problems";
import { words as composerWords } from "../src/composer/words";
import { SPEAKERS } from "./languages";
import { scripted, visits } from "./stories";
import type { Visit, VisitOptions } from "./visit";

const visitPage = visits();
let visit: Visit;

async function start(options: VisitOptions = {}): Promise<void> {
  visit = await visitPage(options);
  await visit.connected();
}

interface Given {
  name: string;
  mimeType: string;
  buffer: Buffer;
}

async function choose(...files: Given[]): Promise<void> {
  const { addFiles } = visit.say(composerWords);
  const [chooser] = await Promise.all([
    visit.page.waitForEvent("filechooser"),
    visit.button(addFiles).click(),
  ]);
  await chooser.setFiles(files);
}

const attachments = () =>
  visit.page.getByRole("list", { name: visit.say(composerWords).attachments }).getByRole("listitem");

/** Hands files to the page as the system's clipboard or a drag would. */
async function hand(how: "paste" | "drop", name: string, type: string, bytes: Buffer): Promise<void> {
  await visit.input.evaluate(
    (input, { how, name, type, base64 }) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const data = new DataTransfer();
      data.items.add(new File([bytes], name, { type }));
      const options = { bubbles: true, cancelable: true, composed: true };
      if (how === "paste")
        input.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }));
      else {
        input.dispatchEvent(new DragEvent("dragover", { ...options, dataTransfer: data }));
        input.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: data }));
      }
    },
    { how, name, type, base64: bytes.toString("base64") },
  );
}

/** The smallest PDF with one line of text. */
function pdf(text: string): Buffer {
  const stream = `BT /F1 24 Tf 72 700 Td (${text}) Tj ET`;
  const objects = [
    "<< /Type /Catalog /Pages 2 0 R >>",
    "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
    "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
    `<< /Length ${stream.length} >>\nstream\n${stream}\nendstream`,
    "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
  ];
  let body = "%PDF-1.4\n";
  const offsets = objects.map((object, at) => {
    const offset = body.length;
    body += `${at + 1} 0 obj\n${object}\nendobj\n`;
    return offset;
  });
  const table = offsets.map((offset) => `${String(offset).padStart(10, "0")} 00000 n \n`).join("");
  const end = `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${table}`;
  const trailer = `trailer\n<< /Size ${objects.length + 1} /Root 1 0 R >>\nstartxref\n${body.length}\n%%EOF\n`;
  return Buffer.from(body + end + trailer, "latin1");
}

describe.each(SPEAKERS)("in $language", ({ language, short }) => {
  test("a text file is chosen, shows its cost, is sent as text, and stands in the question", async () => {
    await start({ language });
    const code = 'fn main() {\n    println!("灯塔");\n}\n';
    await choose({ name: "main.rs", mimeType: "", buffer: Buffer.from(code) });
    await attachments().first().getByText("main.rs").waitFor();
    await expect.poll(() => attachments().first().innerText()).toMatch(/\d+ (个 )?token/);
    await visit.screenshot(`attachment-${language}`);
    await visit.askAndWait(short);
    const [asked] = await visit.kept();
    expect(asked?.content?.map((part) => (part.type === "text" ? part.text : ""))).toEqual(
      expect.arrayContaining([short, expect.stringContaining(code.trimEnd())]),
    );
    await visit.questions
      .first()
      .getByRole("button", { name: /main\.rs/ })
      .waitFor();
    expect(await attachments().count()).toBe(0);
  });

  test("a file that is no text, and an image for a model that reads none, say why they cannot go", async () => {
    await start({ language });
    await choose({ name: "app.exe", mimeType: "", buffer: Buffer.from([77, 90, 0, 1, 2, 255, 0, 0, 3]) });
    await visit.page.getByText(describeProblem("binary", language)).waitFor();
    await hand("paste", "photo.png", "image/png", PIXEL);
    await visit.page.getByText(describeProblem("no_images", language)).waitFor();
    await visit.screenshot(`refused-file-${language}`);
  });
});

test("a PDF is read as text in the browser", async () => {
  await start();
  await choose({ name: "log.pdf", mimeType: "application/pdf", buffer: pdf("The keeper saw three ships.") });
  await attachments().first().getByText(/token/).waitFor({ timeout: 60_000 });
  await visit.askAndWait("How many ships?");
  const [asked] = await visit.kept();
  expect(JSON.stringify(asked?.content)).toContain("The keeper saw three ships.");
});

test("files are dropped anywhere and pasted, and taken out again", async () => {
  await start();
  await hand("drop", "a.txt", "text/plain", Buffer.from("first"));
  await hand("paste", "b.txt", "text/plain", Buffer.from("second"));
  await expect.poll(() => attachments().count()).toBe(2);
  await visit.button(visit.say(composerWords).remove("a.txt")).click();
  await expect.poll(() => attachments().allInnerTexts()).toEqual([expect.stringContaining("b.txt")]);
});

test("a picture goes to a model that reads images, as the picture that it is", async () => {
  const { upstream, url } = await scripted({ images: true });
  await start({ url: url });
  await hand("paste", "photo.png", "image/png", PIXEL);
  await expect.poll(() => attachments().count()).toBe(1);
  await attachments().first().locator("img").waitFor();
  await visit.screenshot("image");
  await visit.ask("What is this?");
  await visit.answered(0);
  const asked = JSON.stringify(upstream.asked.at(-1)?.messages.at(-1));
  expect(asked).toMatch(/"image_url":\{"url":"data:image\/(png|jpeg|webp);base64,/);
  await visit.questions.first().getByRole("img").waitFor();
});

/** A PNG of one red pixel. */
const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==",
  "base64",
);
