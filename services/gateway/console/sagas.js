// Sagas that are under way, over all services; those that are stuck first.

import { h } from "./dom.js";
import { readFleet, readKeepers, thoseWith } from "./fleet.js";
import { badge, heading, nothing, reference, service, table, tally, unanswered } from "./parts.js";
import { sagaSigns } from "./saga.js";
import { ago } from "./time.js";
import { atLeast, plain } from "./words.js";

const TONES = { running: ["busy", "current"], unwinding: ["warn", "undone"], stuck: ["bad", "fault"] };
const MOST = 1000; // the largest page
const COLUMNS = [
  ["status"],
  ["saga"],
  ["of"],
  ["about"],
  ["steps"],
  ["at"],
  ["tries", "number"],
  ["last error"],
  ["last try", "brief"],
  ["trace"],
];

export const sagas = {
  title: () => "Sagas",

  async load({ get, spare, before }) {
    const keepers = before?.keepers ?? (await readKeepers(get));
    const asked = thoseWith(await readFleet(spare), keepers, "mercato.saga.live");
    const answers = await Promise.all(asked.map((name) => spare(`/v1/services/${name}/sagas`, { page_size: MOST })));
    const lists = answers.map((answer) => answer?.sagas ?? []);
    return {
      keepers,
      sagas: lists.flatMap((list, index) => list.map((one) => ({ ...one, service: asked[index] }))),
      silent: asked.filter((_, index) => !answers[index]),
      whole: lists.every((list) => list.length < MOST),
    };
  },

  render({ sagas: found, silent, whole }) {
    const stuck = found.filter((one) => one.status === "stuck");
    const rest = found.filter((one) => one.status !== "stuck");
    const number = (list) => atLeast(list.length, whole ? Infinity : list.length);
    return [
      heading(
        "Sagas",
        tally(stuck.length, `${number(stuck)} stuck`, silent),
        badge("busy", "current", `${number(rest)} live`),
      ),
      unanswered(silent),
      found.length ? table("Sagas", COLUMNS, [...stuck, ...rest].map(row)) : !silent.length && nothing("None is under way."),
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
