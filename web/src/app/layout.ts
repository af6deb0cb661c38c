/**
 * Where the side bar is: beside the thread, or, in a narrow chat, a drawer over it. Measures the chat itself and not the
 * window, because an app may give it a small box.
 */
import { type RefObject, useLayoutEffect, useState } from "react";
import { usePage } from "./context";
import type { ChatPage } from "./page";
import type { PageState } from "./state";

/** Below this width the side bar lies over the thread. */
const NARROW_REM = 48;
/** Below this height bar and composer are slim. */
const SHORT_REM = 28;

export function isSidebarOpen({ narrow, drawer, preferences }: PageState): boolean {
  return narrow ? drawer : preferences.sidebar;
}

export function setSidebar(page: ChatPage, open: boolean): void {
  if (page.store.getState().narrow) page.store.setState({ drawer: open });
  else page.setPreferences({ sidebar: open });
}

export function toggleSidebar(page: ChatPage): void {
  setSidebar(page, !isSidebarOpen(page.store.getState()));
}

/** How high the chat is: `short` as on a phone on its side. */
export type ChatHeight = "short" | "tall";

/** Follows the size of the chat. Missing: it is not known yet, so nothing should be laid out by it. */
export function useLayout(root: RefObject<HTMLElement | null>): ChatHeight | undefined {
  const page = usePage();
  const [chatHeight, setHeight] = useState<ChatHeight>();
  useLayoutEffect(() => {
    const element = root.current;
    if (!element) return;
    const measure = () => {
      const { width, height } = element.getBoundingClientRect();
      const rem = Number.parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
      setHeight(height > 0 && height < SHORT_REM * rem ? "short" : "tall");
      // Nothing is known of a chat that is not shown.
      if (width === 0) return;
      const narrow = width < NARROW_REM * rem;
      if (narrow !== page.store.getState().narrow) page.store.setState({ narrow, drawer: false });
    };
    measure();
    const resized = new ResizeObserver(measure);
    resized.observe(element);
    return () => resized.disconnect();
  }, [page, root]);
  return chatHeight;
}
