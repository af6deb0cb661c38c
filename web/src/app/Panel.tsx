/**
 * What lies over the chat: search, settings, the sheet of shortcuts. Each is loaded when it is first wanted. One that
 * cannot be loaded, as after an update of the server, costs a notice and not the page.
 */
import { type ComponentType, useEffect, useState } from "react";
import { words } from "./appWords";
import { usePage, usePageState } from "./context";
import type { Panel as PanelName } from "./state";
import { useWords } from "./words";

type PanelComponent = ComponentType<{ onClose: () => void }>;

const LOADS: Record<PanelName, () => Promise<PanelComponent>> = {
  search: async () => (await import("../sidebar/Search")).Search,
  shortcuts: async () => (await import("../sidebar/Shortcuts")).Shortcuts,
  settings: async () => {
    // The dialog waits for its sections itself, and does not expect them to be missing.
    const [{ Settings }] = await Promise.all([
      import("../settings/Settings"),
      import("../settings/Sections"),
    ]);
    return Settings;
  },
};
/** A moment after the start the line is free, and search is then there before it is wanted. */
const LOAD_AHEAD_MS = 3000;

export function Panel() {
  const name = usePageState((state) => state.panel);
  useEffect(() => {
    const timer = setTimeout(() => LOADS.search().catch(() => {}), LOAD_AHEAD_MS);
    return () => clearTimeout(timer);
  }, []);
  return name === undefined ? null : <Loaded key={name} name={name} />;
}

function Loaded({ name }: { name: PanelName }) {
  const text = useWords(words);
  const page = usePage();
  const [Component, setComponent] = useState<PanelComponent>();
  const { notLoaded } = text;
  useEffect(() => {
    let isWanted = true;
    LOADS[name]().then(
      (loaded) => isWanted && setComponent(() => loaded),
      () => {
        if (!isWanted) return;
        page.showPanel(undefined);
        page.notify(notLoaded);
      },
    );
    return () => {
      isWanted = false;
    };
  }, [name, page, notLoaded]);
  return Component ? <Component onClose={() => page.showPanel(undefined)} /> : null;
}
