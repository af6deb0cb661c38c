/** The sheet of keyboard shortcuts. */
import { Fragment } from "react";
import { isMac, type Key, SHORTCUTS } from "../app/shortcuts";
import { useWords } from "../app/words";
import { Dialog } from "../ui/Dialog";
import { words } from "./words";

const MAC_KEYS: Partial<Record<Key, string>> = { Mod: "⌘", Shift: "⇧", Enter: "↩", ArrowUp: "↑", Esc: "esc" };
const OTHER_KEYS: Partial<Record<Key, string>> = { Mod: "Ctrl", ArrowUp: "↑" };

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
                  <KeyCombination keys={combination} />
                </Fragment>
              ))}
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

/** Keys as they are written on this machine's keyboard. */
export function KeyCombination({ keys }: { keys: readonly Key[] }) {
  const names = isMac() ? MAC_KEYS : OTHER_KEYS;
  // On Macs the command key is named last.
  const inOrder = isMac() ? [...keys].sort((a, b) => macOrder(a) - macOrder(b)) : keys;
  return (
    <span className="keys">
      {inOrder.map((key) => (
        <kbd key={key}>{names[key] ?? key}</kbd>
      ))}
    </span>
  );
}

function macOrder(key: Key): number {
  return ["Shift", "Mod"].indexOf(key) + 1 || 3;
}
