/** The sheet of keyboard shortcuts. */
import { Fragment } from "react";
import { SHORTCUTS } from "../app/shortcuts";
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { Keys } from "../ui/Keys";
import { words } from "./words";

export function Shortcuts({ onClose }: { onClose: () => void }) {
  const text = useWords(words);
  return (
    <Dialog title={text.shortcuts} onClose={onClose}>
      <dl className="shortcuts">
        {SHORTCUTS.map(({ name, keys }) => (
          <div key={name}>
            <dt>{text.shortcutNames[name]}</dt>
            <dd>
              {keys.map((combination, at) => (
                <Fragment key={combination.join()}>
                  {at > 0 && <span className="shortcut-or">{text.or}</span>}
                  <Keys keys={combination} />
                </Fragment>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
