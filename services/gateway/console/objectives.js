// How well objectives are met: what is left of each error budget, and how fast it is spent.

import { h } from "./dom.js";
import { badge, heading, meter, nothing, service, table } from "./parts.js";
import { milliseconds, lasting } from "./time.js";
import { count, grouped, method } from "./words.js";

const COLUMNS = [["service"], ["method"], ["objective"], ["error budget", "budget"], ["", "number"], ["burn rate", "burns"], ["calls", "number"], ["bad", "number"]];
const LOW = 0.25;
const PAGE_BURN = 14.4; // spends 2 % of a month's budget in an hour
const TICKET_BURN = 1;

export const objectives = {
  title: () => "Objectives",
  load: ({ get }) => get("/v1/objectives"),
  beat_ms: () => 2000,

  render({ objectives: found = [] }) {
    const spent = found.filter((one) => (one.budgetLeft ?? 0) <= 0).length;
    const windows = (found[0]?.burnRates ?? []).map((one) => lasting(milliseconds(one.window)));
    return [
      heading("Objectives", found.length > 0 && (spent ? badge("bad", "fault", `${count(spent, "budget")} spent`) : badge("good", "done", "all budgets hold"))),
      h("p", { class: "lead" }, `How many of the bad calls that may be in ${found[0] ? lasting(milliseconds(found[0].window)) : "30 days"} are left, and how many times as fast as allowed they are spent over ${windows.join(", ") || "several windows"}.`),
      found.length ? table("Objectives", COLUMNS, found.map(row)) : nothing("No method was called yet."),
    ];
  },
};

function row(one) {
  const left = one.budgetLeft ?? 0;
  const tone = left <= 0 ? "bad" : left < LOW ? "warn" : "good";
  const said = left < 0 ? `overspent by ${Math.round(-100 * left)} %` : `${Math.round(100 * left)} % left`;
  return {
    key: `${one.method}/${one.kind}`,
    cells: [
      service(one.service),
      h("span", { title: one.method }, method(one.method)),
      one.kind === "KIND_LATENCY" ? `${one.targetPercent} % within ${lasting(milliseconds(one.latency))}` : `${one.targetPercent} % without fault`,
      meter(left <= 0 ? 1 : left, tone, said),
      h("span", { class: tone === "good" ? "" : tone }, said),
      h("span", { class: "burn" }, (one.burnRates ?? []).map(burn)),
      grouped(one.calls),
      grouped(one.badCalls),
    ],
  };
}

function burn({ window, rate = 0 }) {
  const tone = rate >= PAGE_BURN ? "bad" : rate > TICKET_BURN ? "warn" : "quiet";
  const words = rate >= 100 ? Math.round(rate) : rate ? rate.toFixed(1) : "0";
  return h("span", { class: tone, title: `over ${lasting(milliseconds(window))}` }, h("small", {}, lasting(milliseconds(window))), `${words}×`);
}
