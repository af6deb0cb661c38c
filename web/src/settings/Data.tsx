/** Everything that the server keeps of a person: to take along, or to delete. */
import { useId, useState } from "react";
import { usePage } from "../app/context";
import { emptyDraft } from "../app/state";
import { useLanguage, useWords } from "../app/words";
import { download } from "../sidebar/files";
import { exportAll } from "./exportAll";
import { problemWords } from "./problem";
import { words } from "./words";

export function Data() {
  return (
    <>
      <Export />
      <DeleteAll />
    </>
  );
}

function Export() {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const [status, setStatus] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const run = async () => {
    setBusy(true);
    try {
      const documents = await exportAll(page.rest, (done) => setStatus(text.exporting(done)));
      const day = new Date().toISOString().slice(0, 10);
      if (documents.length > 0) {
        download(`conversations-${day}.json`, "application/json", JSON.stringify(documents, null, 2));
      }
      setStatus(documents.length > 0 ? text.exported(documents.length) : text.nothingToExport);
    } catch (reason) {
      setStatus(problemWords(reason, language));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="setting">
      <h3>{text.exportAll}</h3>
      <p className="setting-note">{text.exportNote}</p>
      <p className="settings-actions">
        <button type="button" className="button" disabled={isBusy} onClick={() => void run()}>
          {text.exportButton}
        </button>
        <span role="status">{status}</span>
      </p>
    </section>
  );
}

/** Deletes nothing before a word has been typed. */
function DeleteAll() {
  const text = useWords(words);
  const language = useLanguage();
  const page = usePage();
  const id = useId();
  const [typed, setTyped] = useState("");
  const [status, setStatus] = useState<string>();
  const [isBusy, setBusy] = useState(false);
  const isConfirmed = typed.trim().toLowerCase() === text.deleteWord;
  const run = async () => {
    setBusy(true);
    try {
      const deleted = await page.rest.deleteAll();
      page.open(undefined);
      for (const key of page.store.getState().drafts.keys()) page.drafts.set(emptyDraft, key);
      setTyped("");
      setStatus(text.deleted(deleted));
      await page.conversations.refresh();
    } catch (reason) {
      setStatus(problemWords(reason, language));
    } finally {
      setBusy(false);
    }
  };
  return (
    <section className="setting">
      <h3>{text.deleteAll}</h3>
      <p className="setting-note">{text.deleteNote}</p>
      <form
        className="settings-actions"
        onSubmit={(event) => {
          event.preventDefault();
          if (isConfirmed && !isBusy) void run();
        }}
      >
        <label htmlFor={id}>{text.deleteConfirm}</label>
        <input
          id={id}
          type="text"
          autoComplete="off"
          autoCapitalize="off"
          spellCheck={false}
          value={typed}
          onChange={({ target }) => setTyped(target.value)}
        />
        <button type="submit" className="button danger" disabled={!isConfirmed || isBusy}>
          {text.deleteButton}
        </button>
        <span role="status">{status}</span>
      </form>
    </section>
  );
}
