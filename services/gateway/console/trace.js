// One trace, alone or as a part of an order's story.

import { h } from "./dom.js";
import { NO_TELEMETRY } from "./fleet.js";
import { keepBadge } from "./keeps.js";
import { heading, nothing, reference, section, service } from "./parts.js";
import { href } from "./router.js";
import { milliseconds, moment, lasting } from "./time.js";
import { brief, count, method } from "./words.js";
import { waterfall } from "./waterfall.js";

export const trace = {
  title: (place) => (place.argument ? `Trace ${brief(place.argument)}` : "Traces"),
  without: NO_TELEMETRY,
  load: ({ get, place }) => get(`/v1/traces/${place.argument}`),
  beat_ms: () => 3000,

  render({ trace: it }, tell) {
    return [
      heading(
        h("span", {}, method(it.root), " ", h("small", { class: "id" }, it.name.split("/")[1])),
        keepBadge(it.keep),
      ),
      h(
        "p",
        { class: "lead" },
        `${moment(it.startTime)} UTC, ${lasting(milliseconds(it.duration))}, ${count(it.spanCount ?? 0, "span")}, ${count(it.errorCount ?? 0, "error")} · `,
        (it.subjects ?? [])
          .filter((name) => name.startsWith("orders/"))
          .map((name) => ["order ", reference(name), " · "]),
        h("a", { href: href("logs", "", { trace: it.name }) }, "its logs"),
      ),
      h(
        "p",
        { class: "services" },
        (it.services ?? []).map((name) => service(name)),
      ),
      h("section", { class: "panel" }, waterfall(it, tell)),
    ];
  },
};

/** Return the trace of a story that is shown: the one chosen, else the one with most spans, else none. */
export const chosenTrace = (traces, place) =>
  (traces ?? []).find((one) => one.name === `traces/${place.query.trace}`) ??
  (traces ?? []).reduce((most, one) => (!most || (one.spanCount ?? 0) > (most.spanCount ?? 0) ? one : most), null);

/** The section of an order's story that shows its traces. */
export function traceSection({ traces, trace: it }, tell) {
  if (traces === null) return section("Trace", null, nothing("Telemetry does not answer."));
  if (!traces.length)
    return section(
      "Trace",
      null,
      nothing("None was recorded: only a share of all is, and what failed, was slow or turned round."),
    );
  const tabs =
    traces.length > 1 &&
    h(
      "nav",
      { class: "tabs", "aria-label": "Traces of this order" },
      traces.map((one) => tab(one, it, tell.place)),
    );
  const beside = it && [
    h("small", {}, `${lasting(milliseconds(it.duration))}, ${count(it.spanCount ?? 0, "span")}`),
    h("a", { href: href("traces", it.name.split("/")[1]) }, "alone"),
    h("a", { href: href("logs", "", { trace: it.name }) }, "logs"),
  ];
  return section("Trace", beside, tabs, it ? waterfall(it, tell) : nothing("It cannot be read now."));
}

const tab = (one, shown, place) =>
  h(
    "a",
    {
      href: href(place.view, place.argument, { trace: one.name.split("/")[1] }),
      "aria-current": one.name === shown?.name && "true",
    },
    method(one.root),
    h("small", {}, ` ${count(one.spanCount ?? 0, "span")}`),
  );
