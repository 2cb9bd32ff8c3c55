// What telemetry took in, and what was dropped: a line at the foot of what rests on it.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { grouped } from "./words.js";

/** Read it; null where telemetry does not answer. */
export const readIntake = async (spare) => (await spare("/v1/intake"))?.signals ?? null;

/** The line. */
export function intakeLine(signals) {
  if (!signals?.length) return null;
  return h("p", { class: "intake" }, "Telemetry since its start: ", signals.map(words));
}

function words({ name, accepted = 0, dropped = {}, stored = 0 }) {
  const lost = Object.entries(dropped).filter(([, number]) => Number(number) > 0);
  return h(
    "span",
    {},
    `${grouped(accepted)} ${name}, ${grouped(stored)} kept, `,
    lost.length
      ? h(
          "b",
          { class: "warn" },
          icon("fault"),
          lost.map(([reason, number]) => `${grouped(number)} dropped (${reason})`).join(", "),
        )
      : "none dropped",
  );
}
