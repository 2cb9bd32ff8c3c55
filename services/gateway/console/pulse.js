// Whether what is on the page is from now.

import { h } from "./dom.js";
import { badge } from "./parts.js";
import { ago } from "./time.js";

/** Say how fresh the page is, and whether it lacks what somebody who does not answer could add. */
export function pulse(failure, time, lacking) {
  if (failure && !failure.final) return badge("bad", "unhealthy", time ? `as of ${ago(new Date(time))}` : "no answer");
  return h("span", { class: "fresh" }, lacking && !failure ? badge("warn", "unknown", "live in part") : badge("good", "serving", "live"));
}
