// Traces, newest first.

import { h } from "./dom.js";
import { NO_TELEMETRY, readFleet, services } from "./fleet.js";
import { intakeLine, readIntake } from "./intake.js";
import { KEEPS, keepBadge } from "./keeps.js";
import { choice, heading, meter, nothing, reference, service, table } from "./parts.js";
import { href, refine } from "./router.js";
import { clock, milliseconds, lasting } from "./time.js";
import { enumWord, method } from "./words.js";

const COLUMNS = [
  ["began (UTC)"],
  ["what"],
  ["took", "number"],
  ["", "share"],
  ["spans", "number"],
  ["errors", "number"],
  ["about"],
  ["kept"],
  ["services"],
];
const DURATIONS = [
  ["", "any"],
  ["0.050s", "50 ms"],
  ["0.250s", "250 ms"],
  ["1s", "1 s"],
  ["5s", "5 s"],
];

export const traces = {
  title: () => "Traces",
  without: NO_TELEMETRY,

  async load({ get, spare, place, before }) {
    const { keep, service: name, min_duration } = place.query;
    const [found, intake, known] = await Promise.all([
      get("/v1/traces", { keep, service: name, min_duration, page_size: 60 }),
      readIntake(spare),
      before?.known ?? readFleet(spare).then((fleet) => [...services(fleet).keys()]),
    ]);
    return { traces: found.traces ?? [], intake, known };
  },
  beat_ms: () => 2000,

  render({ traces: found, intake, known }, { place }) {
    const longest = Math.max(1, ...found.map((one) => milliseconds(one.duration)));
    return [
      heading(
        "Traces",
        choice(
          "kept for",
          place.query.keep,
          [["", "any reason"], ...Object.keys(KEEPS).map((keep) => [keep, enumWord(keep, "KEEP")])],
          (keep) => refine(place, { keep }),
        ),
        choice("service", place.query.service, [["", "all"], ...known.map((name) => [name, name])], (name) =>
          refine(place, { service: name }),
        ),
        choice("at least", place.query.min_duration, DURATIONS, (min_duration) => refine(place, { min_duration })),
      ),
      found.length
        ? table(
            "Traces",
            COLUMNS,
            found.map((one) => row(one, longest)),
          )
        : nothing("No trace is like that."),
      intakeLine(intake),
    ];
  },
};

/** What a trace is about: the order, where one is among what has its id. */
const subject = (names) => reference(names.find((name) => name.startsWith("orders/")) ?? names[0]);

function row(one, longest) {
  const ms = milliseconds(one.duration);
  const all = one.services ?? [];
  return {
    key: one.name,
    cells: [
      clock(one.startTime),
      h("a", { href: href("traces", one.name.split("/")[1]) }, method(one.root)),
      lasting(ms),
      meter(ms / longest, one.errorCount ? "bad" : "busy", `${lasting(ms)} of ${lasting(longest)}`),
      one.spanCount ?? 0,
      one.errorCount ? h("b", { class: "bad" }, one.errorCount) : "0",
      subject(one.subjects ?? []),
      keepBadge(one.keep),
      h(
        "span",
        { class: "services" },
        all.map((name) => service(name)),
      ),
    ],
  };
}
