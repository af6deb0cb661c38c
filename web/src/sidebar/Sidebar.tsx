/**
 * The side bar: a new chat, search, the conversations, and who is signed in. In a narrow chat it is a drawer over the
 * page, which Escape and a press beside it close.
 */
import { Ellipsis, Import, Keyboard, Search as SearchIcon, Settings, SquarePen, X } from "lucide-react";
import { type RefObject, useEffect, useRef } from "react";
import { usePage, usePageState } from "../app/context";
import { isSidebarOpen } from "../app/layout";
import { SHORTCUTS, type ShortcutName } from "../app/shortcuts";
import { useWords } from "../app/words";
import { chatOf } from "../composer/useChatKeys";
import { IconButton } from "../ui/IconButton";
import { Keys } from "../ui/Keys";
import { Mark } from "../ui/Mark";
import { Menu } from "../ui/Menu";
import { ConversationList } from "./ConversationList";
import { useImport } from "./useImport";
import { words } from "./words";

export function Sidebar() {
  const text = useWords(words);
  const page = usePage();
  const isOpen = usePageState(isSidebarOpen);
  const narrow = usePageState((state) => state.narrow);
  const bar = useRef<HTMLElement>(null);
  const isDrawer = narrow && isOpen;
  const close = () => page.store.setState({ drawer: false });
  useFocusInside(bar, isDrawer);
  useEscape(bar, isDrawer);

  const openNew = () => {
    close();
    page.open(undefined);
  };
  const openSearch = () => {
    close();
    page.showPanel("search");
  };
  return (
    <>
      {isDrawer && <div className="sidebar-backdrop" aria-hidden="true" onClick={close} />}
      <nav ref={bar} className="sidebar" aria-label={text.conversations} inert={!isOpen}>
        <header className="sidebar-head">
          <Mark />
          <span className="sidebar-name">{page.name}</span>
          <SidebarMenu />
          {narrow && (
            <IconButton label={text.close} onClick={close}>
              <X />
            </IconButton>
          )}
        </header>
        <button type="button" className="sidebar-action" onClick={openNew}>
          <SquarePen />
          {text.newChat}
          <KeysOf name="newChat" />
        </button>
        <button type="button" className="sidebar-action" onClick={openSearch}>
          <SearchIcon />
          {text.search}
          <KeysOf name="search" />
        </button>
        <div className="conversations">
          <ConversationList />
        </div>
        <Foot />
      </nav>
    </>
  );
}

function KeysOf({ name }: { name: ShortcutName }) {
  const keys = SHORTCUTS.find((shortcut) => shortcut.name === name)?.keys[0] ?? [];
  return (
    <span className="sidebar-keys" aria-hidden="true">
      <Keys keys={keys} />
    </span>
  );
}

function SidebarMenu() {
  const text = useWords(words);
  const page = usePage();
  const bringIn = useImport();
  return (
    <Menu
      label={text.listMenu}
      icon={<Ellipsis />}
      items={[
        { label: text.import, icon: <Import />, onSelect: bringIn },
        { label: text.shortcuts, icon: <Keyboard />, onSelect: () => page.showPanel("shortcuts") },
      ]}
    />
  );
}

/** Who is signed in, if the server says it, and the settings. */
function Foot() {
  const text = useWords(words);
  const page = usePage();
  const name = usePageState(({ chat }) => chat.welcome?.user.name);
  return (
    <footer className="sidebar-foot">
      {name !== undefined && (
        <>
          <span className="sidebar-initial" aria-hidden="true">
            {[...name][0]?.toUpperCase()}
          </span>
          <span className="sidebar-user" dir="auto" title={name}>
            {name}
          </span>
        </>
      )}
      {name === undefined ? (
        <button type="button" className="sidebar-action" onClick={() => page.showPanel("settings")}>
          <Settings />
          {text.settings}
        </button>
      ) : (
        <IconButton label={text.settings} onClick={() => page.showPanel("settings")}>
          <Settings />
        </IconButton>
      )}
    </footer>
  );
}

/** Moves the focus into a drawer when it opens, and back to where it was when it closes. */
function useFocusInside(bar: RefObject<HTMLElement | null>, isDrawer: boolean): void {
  useEffect(() => {
    if (!isDrawer || !bar.current) return;
    const root = bar.current.getRootNode() as Document | ShadowRoot;
    const before = root.activeElement as HTMLElement | null;
    bar.current.querySelector<HTMLElement>(".sidebar-action")?.focus();
    return () => before?.focus();
  }, [isDrawer, bar]);
}

/** Closes a drawer, wherever in the chat the focus is. A menu, a dialog or a field in it has Escape for itself. */
function useEscape(bar: RefObject<HTMLElement | null>, isDrawer: boolean): void {
  const page = usePage();
  useEffect(() => {
    const heard = page.isEmbedded ? chatOf(bar.current) : document;
    if (!isDrawer || !heard) return;
    const onKeyDown = (event: Event) => {
      const { key, target, defaultPrevented } = event as KeyboardEvent;
      const isTaken = target instanceof Element && target.closest("[popover], dialog, input");
      if (key !== "Escape" || defaultPrevented || isTaken) return;
      event.preventDefault();
      page.store.setState({ drawer: false });
    };
    heard.addEventListener("keydown", onKeyDown);
    return () => heard.removeEventListener("keydown", onKeyDown);
  }, [page, bar, isDrawer]);
}
