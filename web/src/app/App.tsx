/**
 * The whole chat: side bar, bar, thread, composer, and what lies over them. Draws what the page's state says; owns
 * nothing but the places of the parts.
 */
import { ChevronDown } from "lucide-react";
import { type RefObject, useEffect, useRef } from "react";
import { Composer } from "../composer/Composer";
import { Sidebar } from "../sidebar/Sidebar";
import { Announcer } from "../thread/Announcer";
import { LinkBanner } from "../thread/LinkBanner";
import { Thread } from "../thread/Thread";
import { useStickToBottom } from "../ui/useStickToBottom";
import { words } from "./appWords";
import { Bar } from "./Bar";
import { PageContext, usePage, usePageState } from "./context";
import { prepareTimes } from "./formats";
import { isSidebarOpen, useLayout } from "./layout";
import { Notices } from "./Notices";
import { Panel } from "./Panel";
import type { ChatPage } from "./page";
import { dispatchShortcut } from "./shortcuts";
import { useFocusMessage } from "./useFocusMessage";
import { chosenLanguage, LanguageContext, useWords } from "./words";

export function App({ page }: { page: ChatPage }) {
  return (
    <PageContext value={page}>
      <Frame />
    </PageContext>
  );
}

function Frame() {
  const page = usePage();
  const { theme, textSize } = usePageState(({ preferences }) => preferences);
  const language = usePageState(({ preferences }) => chosenLanguage(preferences));
  const isOpen = usePageState(isSidebarOpen);
  const narrow = usePageState((state) => state.narrow);
  const root = useRef<HTMLDivElement>(null);
  const height = useLayout(root);
  useEffect(() => page.start(), [page]);
  useEffect(() => prepareTimes(language), [language]);
  useEffect(() => {
    // A part of an app's page takes only the keys that are pressed in it.
    const target = page.isEmbedded ? root.current : window;
    const onKeyDown = (event: Event) => dispatchShortcut(page, event as KeyboardEvent);
    target?.addEventListener("keydown", onKeyDown);
    return () => target?.removeEventListener("keydown", onKeyDown);
  }, [page]);
  return (
    <LanguageContext value={language}>
      <div
        ref={root}
        className="corral"
        lang={language}
        tabIndex={-1}
        data-theme={theme}
        data-text-size={textSize}
        data-sidebar={isOpen ? "open" : "closed"}
        data-width={narrow ? "narrow" : "wide"}
        data-height={height}
      >
        {height !== undefined && (
          <>
            <SkipLink root={root} />
            <Sidebar />
            <Main />
            <Panel />
            <Notices />
            <Announcer />
          </>
        )}
      </div>
    </LanguageContext>
  );
}

/** The first stop of the Tab key: leads past the side bar. */
function SkipLink({ root }: { root: RefObject<HTMLElement | null> }) {
  const text = useWords(words);
  return (
    <button
      type="button"
      className="skip"
      onClick={() => root.current?.querySelector<HTMLElement>(".dock textarea")?.focus()}
    >
      {text.skip}
    </button>
  );
}

function Main() {
  const text = useWords(words);
  const open = usePageState((state) => state.open);
  const { scroller, content, atBottom, toBottom } = useStickToBottom(open);
  const isBehindDrawer = usePageState(({ narrow, drawer }) => narrow && drawer);
  useFocusMessage(content);
  // An app's page has a main part of its own.
  const Scroller = usePage().isEmbedded ? "div" : "main";
  return (
    <div className="main" inert={isBehindDrawer}>
      <Bar />
      <Scroller className="scroller" ref={scroller as RefObject<HTMLDivElement | null>}>
        <div ref={content}>
          <Thread scroller={scroller} toEnd={toBottom} />
        </div>
      </Scroller>
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
        <LinkBanner />
        <Composer onSent={toBottom} />
      </footer>
    </div>
  );
}
