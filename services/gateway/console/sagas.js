// Sagas that are under way, over all services; those that are stuck first.

import { perhaps } from "./api.js";
import { h } from "./dom.js";
import { readFleet, thoseWith } from "./fleet.js";
import { badge, heading, nothing, reference, service, table } from "./parts.js";
import { sagaSigns } from "./saga.js";
import { ago } from "./time.js";
import { plain } from "./words.js";

const TONES = { running: ["busy", "current"], unwinding: ["warn", "undone"], stuck: ["bad", "fault"] };
const COLUMNS = [
  ["status"],
  ["saga"],
  ["of"],
  ["about"],
  ["steps"],
  ["at"],
  ["tries", "number"],
  ["last error"],
  ["got on", "brief"],
  ["trace"],
];

export const sagas = {
  title: () => "Sagas",

  async load({ get }) {
    const asked = thoseWith(await readFleet(get), "mercato.saga.live");
    const answers = await Promise.all(asked.map((name) => perhaps(get(`/v1/services/${name}/sagas`))));
    const silent = asked.filter((_, index) => answers[index] === null);
    return {
      sagas: answers.flatMap((answer, index) =>
        (answer?.sagas ?? []).map((one) => ({ ...one, service: asked[index] })),
      ),
      silent,
    };
  },

  render({ sagas: found, silent }) {
    const stuck = found.filter((one) => one.status === "stuck");
    const rest = found.filter((one) => one.status !== "stuck");
    return [
      heading(
        "Sagas",
        badge(stuck.length ? "bad" : "good", stuck.length ? "fault" : "done", `${stuck.length} stuck`),
        badge("busy", "current", `${rest.length} live`),
      ),
      silent.length > 0 && nothing(`${silent.join(", ")} cannot be asked now.`),
      found.length ? table("Sagas", COLUMNS, [...stuck, ...rest].map(row)) : nothing("None is under way."),
    ];
  },
};

function row(one) {
  const [tone, sign] = TONES[one.status] ?? ["quiet", "unknown"];
  return {
    key: `${one.kind}/${one.subject}`,
    cells: [
      badge(tone, sign, one.status),
      one.kind,
      service(one.service),
      reference(one.subject),
      sagaSigns(one.steps),
      plain(one.step),
      one.attempts ?? 0,
      one.error && h("span", { class: "bad error" }, one.error),
      one.updateTime && ago(one.updateTime),
      one.trace && reference(one.trace),
    ],
  };
}
