/** What `embed.js` runs: `<corral-chat>` for the page that has the script, with the gateway that the script came from. */
import { defineCorralChat, setDefaultServer } from "./element";

// In two steps: the build takes `new URL("...", import.meta.url)` for a file of its own.
const { url } = import.meta;
setDefaultServer(new URL(".", url));
defineCorralChat();
