/** Starts the page that the gateway serves: finds the gateway, keeps the open conversation in the address, mounts the chat. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { apiBase } from "./app/address";
import { ChatPage } from "./app/page";
import "./style/index.css";

const PREFIX = "#/c/";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root element");

const page = new ChatPage({
  api: apiBase(import.meta.env.VITE_API_URL, document.baseURI),
  onOpen: (conversation) => {
    const hash = conversation === undefined ? "" : PREFIX + conversation;
    if (hash !== location.hash) history.pushState(null, "", hash || location.pathname + location.search);
  },
});

function openNamed(): void {
  const named = location.hash.startsWith(PREFIX) ? location.hash.slice(PREFIX.length) : undefined;
  if (named !== page.store.getState().open) page.open(named);
}

openNamed();
addEventListener("popstate", openNamed);

createRoot(root).render(
  <StrictMode>
    <App page={page} />
  </StrictMode>,
);
