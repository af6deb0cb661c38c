/** Keys as they are written on this machine's keyboard. */
import { isMac, type Key } from "../app/shortcuts";

const MAC_KEYS: Partial<Record<Key, string>> = { Mod: "⌘", Shift: "⇧", Enter: "↩", ArrowUp: "↑", Esc: "esc" };
const OTHER_KEYS: Partial<Record<Key, string>> = { Mod: "Ctrl", ArrowUp: "↑" };

export function Keys({ keys }: { keys: readonly Key[] }) {
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
