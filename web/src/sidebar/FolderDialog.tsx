/** Asks in which folder a conversation is to be: one that is there, a new one, or none. */
import { type FormEvent, useState } from "react";
import { usePageState } from "../app/context";
import { useWords } from "../app/words";
import type { Conversation } from "../client";
import { Dialog } from "../ui/Dialog";
import { folderNames } from "./groups";
import { useConversationActions } from "./useConversationActions";
import { words } from "./words";

const MAX_FOLDER = 200;

type Choice = { kind: "none" | "new" } | { kind: "folder"; folder: string };

interface FolderDialogProps {
  conversation: Conversation;
  onClose: () => void;
}

export function FolderDialog({ conversation, onClose }: FolderDialogProps) {
  const text = useWords(words);
  const actions = useConversationActions();
  const list = usePageState(({ list }) => list.conversations);
  const folders = folderNames(list);
  const { folder } = conversation;
  const [choice, setChoice] = useState<Choice>(
    folder === undefined ? { kind: folders.length > 0 ? "none" : "new" } : { kind: "folder", folder },
  );
  const [name, setName] = useState("");
  const isComplete = choice.kind !== "new" || name.trim() !== "";

  const onSubmit = (event: FormEvent) => {
    event.preventDefault();
    if (!isComplete) return;
    const chosen = {
      none: undefined,
      new: name.trim(),
      folder: choice.kind === "folder" ? choice.folder : "",
    };
    actions.move(conversation, chosen[choice.kind]);
    onClose();
  };
  const option = (of: Choice, label: string) => (
    <label className="choice" key={label} dir="auto">
      <input
        type="radio"
        name="folder"
        checked={JSON.stringify(of) === JSON.stringify(choice)}
        onChange={() => setChoice(of)}
      />
      <span>{label}</span>
    </label>
  );

  return (
    <Dialog title={text.move} className="small" onClose={onClose}>
      <form className="folder-form" onSubmit={onSubmit}>
        <fieldset>
          <legend className="visually-hidden">{text.folders}</legend>
          {option({ kind: "none" }, text.noFolder)}
          {folders.map((folder) => option({ kind: "folder", folder }, folder))}
          {option({ kind: "new" }, text.newFolder)}
        </fieldset>
        {choice.kind === "new" && (
          <input
            className="field"
            dir="auto"
            aria-label={text.folderName}
            placeholder={text.folderName}
            maxLength={MAX_FOLDER}
            value={name}
            autoFocus
            onChange={(event) => setName(event.target.value)}
          />
        )}
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>
            {text.cancel}
          </button>
          <button type="submit" className="button-primary" disabled={!isComplete}>
            {text.moveHere}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
