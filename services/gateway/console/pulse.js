// Whether what is on the page is from now.

import { h } from "./dom.js";
import { badge } from "./parts.js";
import { ago } from "./time.js";

/** Say how fresh the page is. */
export function pulse(failure, time) {
  if (!failure || failure.final) return h("span", { class: "fresh" }, badge("good", "serving", "live"));
  return badge("bad", "unhealthy", time ? `as of ${ago(new Date(time))}` : "no answer");
}
