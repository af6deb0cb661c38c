/** The "+" beside the field: files, and images where the model reads them. */
import { Camera, Image, Paperclip, Plus } from "lucide-react";
import { useRef } from "react";
import { usePageState } from "../app/context";
import { useWords } from "../app/words";
import { IconButton } from "../ui/IconButton";
import { Menu } from "../ui/Menu";
import { useMedia } from "./useMedia";
import { words } from "./words";

export function AddMenu({ onFiles }: { onFiles: (files: File[]) => void }) {
  const text = useWords(words);
  const images = usePageState(({ chat }) => chat.welcome?.model.images ?? false);
  const hasCamera = useMedia("(pointer: coarse)");
  const picker = useRef<HTMLInputElement>(null);

  const pick = (accept: string, camera = false) => {
    const input = picker.current;
    if (!input) return;
    input.accept = accept;
    input.multiple = !camera;
    if (camera) input.setAttribute("capture", "environment");
    else input.removeAttribute("capture");
    input.click();
  };
  return (
    <>
      <input
        ref={picker}
        type="file"
        multiple
        hidden
        aria-label={text.addFiles}
        onChange={({ target }) => {
          onFiles([...(target.files ?? [])]);
          // The same file may be chosen again.
          target.value = "";
        }}
      />
      {images ? (
        <Menu
          label={text.add}
          icon={<Plus />}
          align="start"
          items={[
            { label: text.addFiles, icon: <Paperclip />, onSelect: () => pick("") },
            { label: text.addImage, icon: <Image />, onSelect: () => pick("image/*") },
            ...(hasCamera
              ? [{ label: text.takePhoto, icon: <Camera />, onSelect: () => pick("image/*", true) }]
              : []),
          ]}
        />
      ) : (
        <IconButton label={text.addFiles} onClick={() => pick("")}>
          <Plus />
        </IconButton>
      )}
    </>
  );
}
