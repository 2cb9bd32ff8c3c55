// Log lines of all services, newest first.

import { h } from "./dom.js";
import { NO_TELEMETRY, readFleet, services } from "./fleet.js";
import { icon } from "./icons.js";
import { intakeLine, readIntake } from "./intake.js";
import { choice, heading, nothing, service } from "./parts.js";
import { href, refine } from "./router.js";
import { clock } from "./time.js";
import { enumWord } from "./words.js";

const LEVELS = { SEVERITY_DEBUG: "quiet", SEVERITY_INFO: "", SEVERITY_WARNING: "warn", SEVERITY_ERROR: "bad" };

const SHOWN = 150;
const SPARED = new Set(["logger", "request_id"]);

export const logs = {
  title: () => "Logs",
  without: NO_TELEMETRY,

  async load({ get, spare, place, before }) {
    const { trace, service: name, min_severity } = place.query;
    const [found, intake, known] = await Promise.all([
      get("/v1/logs", { trace, service: name, min_severity, page_size: SHOWN }),
      readIntake(spare),
      before?.known ?? readFleet(spare).then((fleet) => [...services(fleet).keys()]),
    ]);
    return { lines: found.logs ?? [], intake, known };
  },

  render({ lines, intake, known }, { place }) {
    return [
      heading(
        "Logs",
        choice(
          "from level",
          place.query.min_severity,
          [["", "all"], ...Object.keys(LEVELS).map((level) => [level, enumWord(level, "SEVERITY")])],
          (min_severity) => refine(place, { min_severity }),
        ),
        choice("service", place.query.service, [["", "all"], ...known.map((name) => [name, name])], (name) =>
          refine(place, { service: name }),
        ),
        place.query.trace &&
          h(
            "a",
            { class: "chip", href: href("logs", "", { ...place.query, trace: "" }) },
            `of one trace …${place.query.trace.slice(-8)}`,
            icon("unhealthy"),
            h("span", { class: "unseen" }, "show all"),
          ),
      ),
      h("p", { class: "lead" }, "Newest first. Nobody tells of what this console itself asks."),
      lines.length ? h("ol", { class: "log" }, lines.map(line)) : nothing("No line is like that."),
      intakeLine(intake),
    ];
  },
};

function line(one) {
  const tone = LEVELS[one.severity] ?? "";
  return h(
    "li",
    { class: tone },
    h("time", { datetime: one.time }, clock(one.time)),
    h("span", { class: "level" }, enumWord(one.severity, "SEVERITY")),
    service(one.service, one.instance || one.service),
    h("span", { class: "message" }, one.message),
    h(
      "span",
      { class: "rest" },
      Object.entries(one.attributes ?? {})
        .filter(([name]) => !SPARED.has(name))
        .map(([name, value]) => h("span", {}, h("small", {}, `${name} `), value)),
    ),
    one.trace && h("a", { href: href("traces", one.trace.split("/")[1], { span: one.spanId }) }, "trace"),
  );
}
