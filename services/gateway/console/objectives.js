// How well objectives are met: what is left of each error budget, and how fast it is spent.

import { h } from "./dom.js";
import { NO_TELEMETRY } from "./fleet.js";
import { badge, heading, meter, nothing, service, table } from "./parts.js";
import { milliseconds, lasting } from "./time.js";
import { count, grouped, method } from "./words.js";

const columns = (burns) => [
  ["service"],
  ["method"],
  ["calls", "number"],
  ["without fault", "brief"],
  ["budget left", "budget"],
  [burns, "burns"],
  ["fast", "brief"],
  ["budget left", "budget"],
  [burns, "burns"],
];
const LOW = 0.25;
const PAGE_BURN = 14.4; // spends 2 % of a month's budget in an hour
const TICKET_BURN = 1;

export const objectives = {
  title: () => "Objectives",
  without: NO_TELEMETRY,
  load: ({ get }) => get("/v1/objectives"),
  beat_ms: () => 2000,

  render({ objectives: found = [] }) {
    const spent = found.filter((one) => (one.budgetLeft ?? 0) <= 0).length;
    const windows = (found[0]?.burnRates ?? []).map((one) => lasting(milliseconds(one.window)));
    const methods = [...Map.groupBy(found, (one) => one.method).values()];
    return [
      heading(
        "Objectives",
        found.length > 0 &&
          (spent
            ? badge("bad", "fault", `${count(spent, "budget")} spent`)
            : badge("good", "done", "all budgets hold")),
      ),
      h(
        "p",
        { class: "lead" },
        `An error budget is how many bad calls may be in ${found[0] ? lasting(milliseconds(found[0].window)) : "30 days"}. The burn rate is how many times as fast as allowed it is spent, over ${windows.join(", ") || "several windows"}; above 1 it will not last.`,
      ),
      methods.length
        ? table("Objectives", columns(`burn ${windows.map(brief).join(" · ")}`), methods.map(row))
        : nothing("No method was called yet."),
    ];
  },
};

const brief = (window) => window.replace(/ (\w).*/, "$1");

function row(both) {
  const [{ service: name, method: full, calls }] = both;
  const of = (kind) => both.find((one) => one.kind === kind);
  return {
    key: full,
    cells: [
      service(name),
      h("span", { title: full }, method(full)),
      grouped(calls),
      ...budget(of("KIND_AVAILABILITY")),
      ...budget(of("KIND_LATENCY")),
    ],
  };
}

function budget(one) {
  if (!one) return [h("small", {}, "no objective"), "", ""];
  const left = one.budgetLeft ?? 0;
  const tone = left <= 0 ? "bad" : left < LOW ? "warn" : "good";
  const said = left >= 0 ? `${Math.round(100 * left)} %` : `${over(-left)} over`;
  const target = one.latency
    ? `${one.targetPercent} % in ${lasting(milliseconds(one.latency))}`
    : `${one.targetPercent} %`;
  return [
    h("small", {}, target),
    h(
      "span",
      { class: "left", title: `${grouped(one.badCalls)} bad calls` },
      meter(left <= 0 ? 1 : left, tone, `${said} left`),
      h("span", { class: tone === "good" ? "" : tone }, said),
    ),
    h("span", { class: "burn" }, (one.burnRates ?? []).map(burn)),
  ];
}

/** How much more than the budget was spent, as a share of it or as so many times it. */
const over = (share) => (share < 10 ? `${Math.round(100 * share)} %` : `${grouped(Math.round(share))}×`);

function burn({ window, rate = 0 }) {
  const tone = rate >= PAGE_BURN ? "bad" : rate > TICKET_BURN ? "warn" : "quiet";
  const words = rate >= 10 ? Math.round(rate) : rate ? rate.toFixed(1) : "0";
  return h("span", { class: tone, title: `over ${lasting(milliseconds(window))}` }, `${words}×`);
}
