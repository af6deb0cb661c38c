/**
 * `<corral-chat>`: a whole chat as one element of an app's page. Owns a shadow root and the chat in it. The chat begins
 * when the element comes onto a page and ends when it has left; an element that is only moved keeps its chat. It
 * touches nothing else of the page: not its address, not its title, not its focus.
 */
import { createRoot, type Root } from "react-dom/client";
import { App } from "../app/App";
import { apiBase } from "../app/address";
import { ChatPage } from "../app/page";
import type { Theme } from "../app/preferences";
import { languageFor } from "../app/words";
import { ChatError } from "../client";
import { storageFor } from "./storage";
import { chatStyles } from "./styles";

/** Gives the app's token for the person who is signed in. */
export type TokenCallback = () => string | Promise<string>;

export interface CorralChatEventMap {
  /** Another conversation is open; without `conversation`, a new one. */
  "corral-open": CustomEvent<{ conversation?: string }>;
  /** An answer has ended. */
  "corral-answer": CustomEvent<{ conversation: string; answer: string }>;
}

const THEMES: readonly string[] = ["system", "light", "dark"] satisfies Theme[];
/** A change of one of these begins another chat. */
const IDENTITY: readonly string[] = ["server", "user", "heading"];

let defaultServer: URL | undefined;

/** The gateway of elements without `server`. */
export function setDefaultServer(server: URL): void {
  defaultServer = server;
}

// A server that renders an app's page has no elements, but may import this file.
const Base = globalThis.HTMLElement ?? (class {} as typeof HTMLElement);

export class CorralChat extends Base {
  static readonly observedAttributes = [...IDENTITY, "conversation", "language", "theme"];

  #token: TokenCallback | undefined;
  #page: ChatPage | undefined;
  #root: Root | undefined;
  #isSettling = false;
  #isOutdated = false;

  constructor() {
    super();
    this.attachShadow({ mode: "open" }).adoptedStyleSheets = [chatStyles()];
  }

  /**
   * Signs in: asked before each connection and each HTTP request, so keep a token until shortly before it ends. Missing:
   * the gateway's cookie says who it is.
   */
  get token(): TokenCallback | undefined {
    return this.#token;
  }

  set token(token: TokenCallback | undefined | null) {
    const signedIn = this.#token !== undefined;
    this.#token = token ?? undefined;
    // A framework may set another function at each render; that begins nothing.
    if (signedIn !== (this.#token !== undefined)) this.#restart();
  }

  /** The conversation that is open. */
  get conversation(): string | undefined {
    return this.#page?.store.getState().open;
  }

  set conversation(conversation: string | undefined | null) {
    this.open(conversation ?? undefined);
  }

  /** Opens a conversation. Without one, a new one. */
  open(conversation?: string): void {
    if (this.#page) this.#page.open(conversation);
    else if (conversation) this.setAttribute("conversation", conversation);
    else this.removeAttribute("conversation");
  }

  newChat(): void {
    this.open();
  }

  /** Puts the focus where messages are written. */
  override focus(options?: FocusOptions): void {
    this.shadowRoot?.querySelector("textarea")?.focus(options);
  }

  connectedCallback(): void {
    // The app may have set it before this class was known.
    if (Object.hasOwn(this, "token")) {
      const { token } = this;
      Reflect.deleteProperty(this, "token");
      this.token = token;
    }
    this.#settleSoon();
  }

  disconnectedCallback(): void {
    this.#settleSoon();
  }

  /** Where browsers know it, `moveBefore` calls this alone. */
  connectedMoveCallback(): void {}

  attributeChangedCallback(name: string, before: string | null, value: string | null): void {
    if (before === value) return;
    if (IDENTITY.includes(name)) this.#restart();
    else if (name === "conversation") this.#page?.open(value ?? undefined);
    else this.#setPreferences();
  }

  /** Begins, ends or changes the chat once the app's script has done all it does now. */
  #settleSoon(): void {
    if (this.#isSettling) return;
    this.#isSettling = true;
    queueMicrotask(() => {
      this.#isSettling = false;
      if (!this.isConnected || this.#isOutdated) this.#end();
      this.#isOutdated = false;
      if (this.isConnected && !this.#page) this.#begin();
    });
  }

  #restart(): void {
    if (!this.#page) return;
    this.#isOutdated = true;
    this.#settleSoon();
  }

  #begin(): void {
    const { shadowRoot } = this;
    if (!shadowRoot) return;
    const api = apiBase(this.getAttribute("server") ?? defaultServer?.href, document.baseURI);
    const signsIn = this.#token !== undefined;
    const user = this.getAttribute("user");
    const heading = this.getAttribute("heading");
    const page = new ChatPage({
      api,
      ...(signsIn && { token: () => this.#askToken() }),
      ...(heading !== null && { name: heading }),
      isEmbedded: true,
      storage: storageFor({ server: api.href, user, signsIn, id: this.id }),
      onOtherUser: () => this.#restart(),
      onOpen: (conversation) => this.#tell("corral-open", conversation === undefined ? {} : { conversation }),
    });
    page.client.subscribe(({ answers }, event) => {
      const conversation = event.type === "done" ? answers.get(event.answer)?.conversation : undefined;
      if (event.type === "done" && conversation !== undefined)
        this.#tell("corral-answer", { conversation, answer: event.answer });
    });
    this.#page = page;
    this.#setPreferences();
    const conversation = this.getAttribute("conversation");
    if (conversation !== null) page.open(conversation);
    this.#root = createRoot(shadowRoot);
    this.#root.render(<App page={page} />);
  }

  #end(): void {
    this.#root?.unmount();
    this.#root = undefined;
    this.#page = undefined;
  }

  /** What the app sets wins over what the person has set. */
  #setPreferences(): void {
    const theme = this.getAttribute("theme");
    const language = this.getAttribute("language");
    this.#page?.setPreferences({
      ...(theme !== null && THEMES.includes(theme) && { theme: theme as Theme }),
      ...(language !== null && { language: languageFor(language) }),
    });
  }

  async #askToken(): Promise<string> {
    try {
      return (await this.#token?.()) ?? "";
    } catch (error) {
      throw new ChatError("unauthenticated", error instanceof Error ? error.message : String(error));
    }
  }

  #tell<Name extends keyof CorralChatEventMap>(name: Name, detail: CorralChatEventMap[Name]["detail"]): void {
    this.dispatchEvent(new CustomEvent(name, { detail, bubbles: true, composed: true }));
  }
}

/** Makes `<corral-chat>` known to the page. Harmless when it is known already. */
export function defineCorralChat(): void {
  if (!customElements.get("corral-chat")) customElements.define("corral-chat", CorralChat);
}
