/** Starts the page that the gateway serves: finds the gateway and mounts the chat in the whole window. */
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import { apiBase } from "./app/address";
import { standalonePage } from "./app/standalone";
import "./style/index.css";
import "./style/standalone.css";

const root = document.getElementById("root");
if (!root) throw new Error("index.html has no #root element");

const page = standalonePage({ api: apiBase(import.meta.env.VITE_API_URL, document.baseURI) });

createRoot(root).render(
  <StrictMode>
    <App page={page} />
  </StrictMode>,
);
