/**
 * Starts the page: finds the gateway, chooses the language, mounts the chat.
 */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./App";
import { chatSocketUrl } from "./address";
import { Session } from "./session";
import "./style.css";
import { TextContext, textFor } from "./text";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root element");

const text = textFor(navigator.language);
document.documentElement.lang = text.lang;
const session = new Session(chatSocketUrl(import.meta.env.VITE_API_URL, document.baseURI));

createRoot(root).render(
  <StrictMode>
    <TextContext value={text}>
      <App session={session} />
    </TextContext>
  </StrictMode>,
);
