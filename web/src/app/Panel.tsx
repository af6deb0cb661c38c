/**
 * What lies over the chat. Search is there at once, because people type as soon as they have pressed its keys; settings
 * and the sheet of shortcuts are loaded when they are wanted. One that cannot be loaded, as after an update of the
 * server, costs a notice and not the page.
 */
import { type ComponentType, useEffect, useState } from "react";
import { Search } from "../sidebar/Search";
import { words } from "./appWords";
import { usePage, usePageState } from "./context";
import type { Panel as PanelName } from "./state";
import { useWords } from "./words";

type LoadedName = Exclude<PanelName, "search">;
type PanelComponent = ComponentType<{ onClose: () => void }>;

const LOADS: Record<LoadedName, () => Promise<PanelComponent>> = {
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

export function Panel() {
  const page = usePage();
  const name = usePageState((state) => state.panel);
  if (name === undefined) return null;
  if (name === "search") return <Search onClose={() => page.showPanel(undefined)} />;
  return <Loaded key={name} name={name} />;
}

function Loaded({ name }: { name: LoadedName }) {
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
        page.notices.show(notLoaded);
      },
    );
    return () => {
      isWanted = false;
    };
  }, [name, page, notLoaded]);
  return Component ? <Component onClose={() => page.showPanel(undefined)} /> : null;
}
