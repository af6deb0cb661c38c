/** The files and images of the message that is being written: what each is, what it costs, and how to take it out. */
import { FileText, FileX, LoaderCircle, X } from "lucide-react";
import { memo, useState } from "react";
import { usePageState } from "../app/context";
import type { Attachment } from "../app/state";
import { useLanguage, useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { IconButton } from "../ui/IconButton";
import { attachmentTokens, byteLength } from "./cost";
import { describeProblem } from "./problems";
import { formatBytes, formatCount } from "./units";
import { words } from "./words";

/** So much of a long file is shown before it is sent. */
const PREVIEW_CHARACTERS = 20_000;

interface AttachmentsProps {
  attachments: readonly Attachment[];
  onRemove: (id: string) => void;
}

export function Attachments({ attachments, onRemove }: AttachmentsProps) {
  const text = useWords(words);
  const [open, setOpen] = useState<string>();
  const shown = attachments.find(({ id }) => id === open);
  if (attachments.length === 0) return null;
  return (
    <>
      <ul className="attachments" aria-label={text.attachments}>
        {attachments.map((attachment) => (
          <Chip key={attachment.id} attachment={attachment} onOpen={setOpen} onRemove={onRemove} />
        ))}
      </ul>
      {shown && <Preview attachment={shown} onClose={() => setOpen(undefined)} />}
    </>
  );
}

interface ChipProps {
  attachment: Attachment;
  onOpen: (id: string) => void;
  onRemove: (id: string) => void;
}

const Chip = memo(function Chip({ attachment, onOpen, onRemove }: ChipProps) {
  const text = useWords(words);
  const { id, kind, name } = attachment;
  return (
    <li className="attachment" data-kind={kind} aria-busy={kind === "reading"}>
      {kind === "text" || kind === "image" ? (
        <button type="button" className="attachment-open" title={name} onClick={() => onOpen(id)}>
          <Label attachment={attachment} />
        </button>
      ) : (
        <div className="attachment-open" title={name}>
          <Label attachment={attachment} />
        </div>
      )}
      <IconButton label={text.remove(name)} onClick={() => onRemove(id)}>
        <X />
      </IconButton>
    </li>
  );
});

function Label({ attachment }: { attachment: Attachment }) {
  return (
    <>
      <Picture attachment={attachment} />
      <span className="attachment-name" dir="auto">
        {attachment.name}
      </span>
      <Detail attachment={attachment} />
    </>
  );
}

function Picture({ attachment }: { attachment: Attachment }) {
  switch (attachment.kind) {
    case "image":
      return <img src={attachment.dataUrl} alt="" />;
    case "reading":
      return <LoaderCircle className="spins" />;
    case "refused":
      return <FileX />;
    case "text":
      return <FileText />;
  }
}

function Detail({ attachment }: { attachment: Attachment }) {
  const text = useWords(words);
  const language = useLanguage();
  const limit = usePageState(({ chat }) => chat.welcome?.limits.message_bytes);
  switch (attachment.kind) {
    case "reading": {
      const { done, total } = attachment;
      const isLong = done !== undefined && total !== undefined;
      return <small>{isLong ? text.readingPages(done, total) : text.reading}</small>;
    }
    case "refused":
      return <small role="alert">{describeProblem(attachment.problem, language, limit)}</small>;
    default: {
      const size = byteLength(attachment.kind === "text" ? attachment.text : attachment.dataUrl);
      const tokens = attachmentTokens(attachment);
      return (
        <small>
          {formatBytes(size, language)}
          {tokens && ` · ${tokens.exact ? "" : "≈ "}${text.tokens(formatCount(tokens.count, language))}`}
        </small>
      );
    }
  }
}

function Preview({ attachment, onClose }: { attachment: Attachment; onClose: () => void }) {
  const text = useWords(words);
  return (
    <Dialog title={attachment.name} onClose={onClose} className="wide preview">
      {attachment.kind === "image" && <img src={attachment.dataUrl} alt={attachment.name} />}
      {attachment.kind === "text" && (
        <>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reached by keys. */}
          <pre dir="auto" tabIndex={0}>
            {attachment.text.slice(0, PREVIEW_CHARACTERS)}
          </pre>
          {attachment.text.length > PREVIEW_CHARACTERS && <p className="hint">{text.previewCut}</p>}
        </>
      )}
    </Dialog>
  );
}
