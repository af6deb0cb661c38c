/** `<corral-chat>` for apps with a bundler: importing it makes the element known, in TypeScript and in JSX, too. */
import type { DetailedHTMLProps, HTMLAttributes } from "react";
import { type CorralChat, type CorralChatEventMap, defineCorralChat, type TokenCallback } from "./element";

export { CorralChat, type CorralChatEventMap, setDefaultServer, type TokenCallback } from "./element";

/** The attributes of `<corral-chat>`. README.md says what each does. */
export interface CorralChatAttributes extends DetailedHTMLProps<HTMLAttributes<CorralChat>, CorralChat> {
  server?: string;
  user?: string;
  conversation?: string;
  language?: string;
  theme?: "system" | "light" | "dark";
  heading?: string;
  token?: TokenCallback;
  "oncorral-open"?: (event: CorralChatEventMap["corral-open"]) => void;
  "oncorral-answer"?: (event: CorralChatEventMap["corral-answer"]) => void;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "corral-chat": CorralChatAttributes;
    }
  }
}

declare global {
  interface HTMLElementTagNameMap {
    "corral-chat": CorralChat;
  }
  interface HTMLElementEventMap extends CorralChatEventMap {}
}

if (globalThis.customElements) defineCorralChat();
