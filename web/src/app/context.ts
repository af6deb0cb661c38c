/** How components reach the page: the object itself for what is done, and a selector for what is shown. */
import { createContext, useContext } from "react";
import { useStore } from "zustand";
import { useShallow } from "zustand/react/shallow";
import type { ChatPage } from "./page";
import type { PageState } from "./state";

export const PageContext = createContext<ChatPage | undefined>(undefined);

export function usePage(): ChatPage {
  const page = useContext(PageContext);
  if (!page) throw new Error("a component of the chat is used outside PageContext");
  return page;
}

/** Draws again when what `select` returns has changed, shallowly compared. */
export function usePageState<T>(select: (state: PageState) => T): T {
  return useStore(usePage().store, useShallow(select));
}
