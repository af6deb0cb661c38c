/*
 * Brings the kept theme and the closed side bar to the first paint, before the program is there. A file of its own,
 * because the page allows no scripts inside its HTML. Reads what src/app/preferences.ts keeps.
 */
(() => {
  const page = document.documentElement;
  try {
    const { theme = "system", sidebar = true } = JSON.parse(localStorage.getItem("corral.preferences")) ?? {};
    page.dataset.theme = theme;
    page.dataset.sidebar = sidebar ? "open" : "closed";
  } catch {
    // Nothing is kept, or nothing may be read: the system's theme is shown.
  }
})();
