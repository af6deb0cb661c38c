/** What a person sent: words, with long ones folded; files as chips; images that open large. */
import { FileText } from "lucide-react";
import { useState } from "react";
import { partToFile, type TextFile, writtenText } from "../app/content";
import { useLanguage, useWords } from "../app/words";
import type { ContentPart } from "../client";
import { byteLength } from "../composer/cost";
import { formatBytes } from "../composer/units";
import { Dialog } from "../ui/Dialog";
import { isLong } from "./edit";
import { words } from "./words";

/** No other address is ever given to an image. */
const IMAGE = /^data:image\/(?:png|jpeg|gif|webp);base64,/i;

export function Content({ content }: { content: readonly ContentPart[] }) {
  const written = writtenText(content);
  const files = content.map(partToFile).filter((file) => file !== undefined);
  const images = content.flatMap((part) =>
    part.type === "image" && IMAGE.test(part.data_url) ? [part.data_url] : [],
  );
  return (
    <>
      {images.length > 0 && (
        <div className="sent-images">
          {images.map((image, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a message's images never change places.
            <Thumbnail key={at} image={image} />
          ))}
        </div>
      )}
      {files.length > 0 && (
        <div className="sent-files">
          {files.map((file, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a message's files never change places.
            <FileChip key={at} file={file} />
          ))}
        </div>
      )}
      {written !== "" && <Written text={written} />}
    </>
  );
}

function Written({ text: written }: { text: string }) {
  const text = useWords(words);
  const long = isLong(written);
  const [whole, setWhole] = useState(false);
  return (
    <div className="bubble">
      <div className="bubble-text" dir="auto" data-folded={long && !whole}>
        {written}
      </div>
      {long && (
        <button type="button" className="fold" aria-expanded={whole} onClick={() => setWhole(!whole)}>
          {whole ? text.showLess : text.showMore}
        </button>
      )}
    </div>
  );
}

function FileChip({ file }: { file: TextFile }) {
  const language = useLanguage();
  const [open, setOpen] = useState(false);
  const size = formatBytes(byteLength(file.text), language);
  return (
    <>
      <button type="button" className="file-chip" onClick={() => setOpen(true)}>
        <FileText />
        <span className="file-chip-name" dir="auto">
          {file.name}
        </span>
        <span className="file-chip-size">{size}</span>
      </button>
      {open && (
        <Dialog title={file.name} className="wide" onClose={() => setOpen(false)}>
          <pre className="file-text" dir="auto">
            {file.text}
          </pre>
        </Dialog>
      )}
    </>
  );
}

function Thumbnail({ image }: { image: string }) {
  const text = useWords(words);
  const [open, setOpen] = useState(false);
  return (
    <>
      <button
        type="button"
        className="thumbnail"
        aria-label={text.openImage}
        title={text.openImage}
        onClick={() => setOpen(true)}
      >
        <img src={image} alt={text.image} />
      </button>
      {open && (
        <Dialog title={text.image} className="image-dialog" onClose={() => setOpen(false)}>
          <img src={image} alt={text.image} />
        </Dialog>
      )}
    </>
  );
}
