/**
 * The whole chat: side bar, thread, composer, and what lies over them. Draws what the page's state says; owns nothing
 * but the places where the parts stand.
 */
import { ChevronDown, PanelLeft, Settings as SettingsIcon, SquarePen } from "lucide-react";
import { useEffect } from "react";
import { Composer } from "../composer/Composer";
import { Settings } from "../settings/Settings";
import { Search } from "../sidebar/Search";
import { Shortcuts } from "../sidebar/Shortcuts";
import { Sidebar } from "../sidebar/Sidebar";
import { Announcer } from "../thread/Announcer";
import { Thread } from "../thread/Thread";
import { IconButton } from "../ui/IconButton";
import { useStickToBottom } from "../ui/useStickToBottom";
import { words } from "./appWords";
import { PageContext, usePage, usePageState } from "./context";
import { LinkPill } from "./LinkPill";
import { Notices } from "./Notices";
import type { ChatPage } from "./page";
import { LanguageContext, languageFor, useWords } from "./words";

export function App({ page }: { page: ChatPage }) {
  return (
    <PageContext value={page}>
      <Frame />
    </PageContext>
  );
}

function Frame() {
  const page = usePage();
  const { language, theme, textSize, sidebar } = usePageState(({ preferences }) => preferences);
  const spoken = language ?? languageFor(navigator.language);
  useEffect(() => page.start(), [page]);
  return (
    <LanguageContext value={spoken}>
      <div
        className="corral"
        lang={spoken}
        data-theme={theme}
        data-text-size={textSize}
        data-sidebar={sidebar ? "open" : "closed"}
      >
        <Sidebar />
        <Main />
        <Panels />
        <Notices />
        <Announcer />
      </div>
    </LanguageContext>
  );
}

function Main() {
  const text = useWords(words);
  const page = usePage();
  const sidebar = usePageState(({ preferences }) => preferences.sidebar);
  const { scroller, content, atBottom, toBottom } = useStickToBottom();
  return (
    <div className="main">
      <header className="bar">
        <IconButton
          label={sidebar ? text.closeSidebar : text.openSidebar}
          aria-expanded={sidebar}
          onClick={() => page.setPreferences({ sidebar: !sidebar })}
        >
          <PanelLeft />
        </IconButton>
        <Title />
        <LinkPill />
        <IconButton label={text.newChat} onClick={() => page.open(undefined)}>
          <SquarePen />
        </IconButton>
        <IconButton label={text.settings} onClick={() => page.showPanel("settings")}>
          <SettingsIcon />
        </IconButton>
      </header>
      <main className="scroller" ref={scroller}>
        <div ref={content}>
          <Thread />
        </div>
      </main>
      <footer className="dock">
        {!atBottom && (
          <button
            type="button"
            className="latest"
            aria-label={text.latest}
            title={text.latest}
            onClick={toBottom}
          >
            <ChevronDown />
          </button>
        )}
        <Composer onSent={toBottom} />
      </footer>
    </div>
  );
}

/** The open conversation's title and the model's name. */
function Title() {
  const title = usePageState(({ open, chat }) =>
    open === undefined ? undefined : chat.chats.get(open)?.record?.title,
  );
  const { name } = usePage();
  const model = usePageState(({ chat }) => chat.welcome?.model.name);
  return (
    <div className="bar-title">
      <h1>{title ?? name}</h1>
      {model !== undefined && <p className="bar-model">{model}</p>}
    </div>
  );
}

function Panels() {
  const panel = usePageState((state) => state.panel);
  const page = usePage();
  const close = () => page.showPanel(undefined);
  switch (panel) {
    case "settings":
      return <Settings onClose={close} />;
    case "shortcuts":
      return <Shortcuts onClose={close} />;
    case "search":
      return <Search onClose={close} />;
    case undefined:
      return null;
  }
}
