// Light or dark: as the system has it, until a person chooses.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const KEPT = "mercato-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

const chosen = () => localStorage.getItem(KEPT) ?? (dark.matches ? "dark" : "light");

/** The button that changes it; also makes the page what was chosen before. */
export function themeButton(redraw) {
  const [now, other] = chosen() === "dark" ? ["dark", "light"] : ["light", "dark"];
  document.documentElement.dataset.theme = now;
  const choose = () => {
    localStorage.setItem(KEPT, other);
    redraw();
  };
  return h(
    "button",
    { class: "quiet", type: "button", "aria-label": `Show in ${other}`, onclick: choose },
    icon(other === "dark" ? "moon" : "sun"),
  );
}
