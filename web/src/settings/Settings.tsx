/** What a person can set. The parts are loaded when the dialog opens. */
import { lazy, Suspense } from "react";
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { title } from "./title";

const Sections = lazy(() => import("./Sections"));

export function Settings({ onClose }: { onClose: () => void }) {
  const text = useWords(title);
  return (
    <Dialog title={text.settings} onClose={onClose} className="wide settings">
      <Suspense fallback={<div className="settings-sections" aria-busy="true" />}>
        <Sections />
      </Suspense>
    </Dialog>
  );
}
