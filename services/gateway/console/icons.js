// The few signs of the console, drawn: no font has to have them. They are ornament: the word is always beside them.

import { svg } from "./dom.js";

const PATHS = {
  serving: ["M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z", "solid"],
  draining: ["M8 3.5a4.5 4.5 0 1 0 0 9zM8 3.5a4.5 4.5 0 0 1 0 9", "half"],
  unhealthy: ["M4 4l8 8M12 4l-8 8", "line"],
  unknown: ["M8 3.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 0 0 0-9z", "line"],
  done: ["M3.5 8.5l3 3 6-7", "line"],
  current: ["M8 3.5a4.5 4.5 0 1 0 4.5 4.5M8 5.5V8l2 1.5", "line"],
  refused: ["M4 4l8 8M12 4l-8 8", "line"],
  undone: ["M4 6h5.5a3 3 0 0 1 0 6H7M6.5 3.2L3.7 6l2.8 2.8", "line"],
  waiting: ["M3 8h.5M8 8h.5M13 8h.5", "line"],
  fault: ["M8 2.5l6 11H2zM8 6.5v3.2M8 11.6v.4", "line"],
  retry: ["M12.5 8A4.5 4.5 0 1 1 11 4.7M11.3 2v3h-3", "line"],
  open: ["M2 8h3.5M10.5 8H14M5.5 8l4.4-3.6", "line"],
  call: ["M3 8h9M9 5l3 3-3 3", "line"],
  event: ["M2 4.5h12v7.5H2zM2.3 5L8 9l5.7-4", "line"],
  caret: ["M6 4l4 4-4 4", "line"],
  mail: ["M2 4.5h12v7.5H2zM2.3 5L8 9l5.7-4", "line"],
  sun: [
    "M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 0 0 0-5.6zM8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
    "line",
  ],
  moon: ["M12.8 9.8A5.2 5.2 0 0 1 6.2 3.2a5.2 5.2 0 1 0 6.6 6.6z", "line"],
};

/** Return a sign of 1 em. */
export function icon(name) {
  const [path, kind] = PATHS[name];
  return svg("svg", { class: `icon ${kind}`, viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: path }));
}
