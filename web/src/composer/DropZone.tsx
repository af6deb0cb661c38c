/** Files that are dropped anywhere on the chat. While one hovers, a veil says so. */
import { Paperclip } from "lucide-react";
import { useEffect, useState } from "react";
import { createPortal } from "react-dom";
import { useWords } from "../app/words";
import { chatOf, isCovered } from "./useChatKeys";
import { words } from "./words";

interface DropZoneProps {
  /** Any element of the chat. */
  inside: HTMLElement | null;
  onFiles: (files: File[]) => void;
}

export function DropZone({ inside, onFiles }: DropZoneProps) {
  const text = useWords(words);
  const [hovers, setHovers] = useState(false);
  const chat = chatOf(inside);
  useEffect(() => {
    if (!chat) return;
    const ended = new AbortController();
    const on = (type: "dragover" | "dragleave" | "drop", act: (event: DragEvent) => void) =>
      chat.addEventListener(type, act, { signal: ended.signal });
    on("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      // Without this the browser would leave the page and show the file.
      event.preventDefault();
      const isRefused = isCovered(chat);
      event.dataTransfer.dropEffect = isRefused ? "none" : "copy";
      setHovers(!isRefused);
    });
    on("dragleave", (event) => {
      if (!chat.contains(event.relatedTarget as Node | null)) setHovers(false);
    });
    on("drop", (event) => {
      setHovers(false);
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      if (!isCovered(chat)) onFiles(files);
    });
    return () => ended.abort();
  }, [chat, onFiles]);
  if (!chat || !hovers) return null;
  return createPortal(
    <div className="dropzone">
      <p>
        <Paperclip />
        {text.drop}
      </p>
    </div>,
    chat,
  );
}
