// The events of an order's story: what happened, when the bus took it, and who handled it.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { nothing, reference, section, service, table } from "./parts.js";
import { between, clock, lasting } from "./time.js";
import { last } from "./words.js";

const COLUMNS = [["time (UTC)"], ["event"], ["of"], ["published", "number"], ["handled by"], ["trace"]];

/** The section of events. */
export function happened({ events, silent, handled: { handled, silent: deaf }, consumers }) {
  const rows = events.map((event) => ({
    key: event.id,
    cells: [
      h("time", { datetime: event.createTime }, clock(event.createTime)),
      h("details", {}, h("summary", { title: event.type }, last(event.type)), h("pre", {}, pretty(event.body))),
      service(event.service),
      event.publishTime
        ? `+${lasting(Math.max(0, between(event.createTime, event.publishTime)))}`
        : "waits in the outbox",
      handlers(handled.get(event.id) ?? [], event),
      event.trace && reference(event.trace),
    ],
  }));
  const told = consumers.length
    ? `asked who handled them: ${consumers.join(", ")}`
    : "nobody is known to handle events";
  return section(
    "Events",
    h("small", {}, told, deaf.length > 0 && h("b", { class: "warn" }, `; ${deaf.join(", ")} did not answer`)),
    silent.length > 0 && nothing(`Without those of ${silent.join(", ")}, which cannot be asked now.`),
    rows.length ? table("Events", COLUMNS, rows) : !silent.length && nothing("None."),
  );
}

const handlers = (list, event) =>
  list.map(({ service: name, time }) =>
    h(
      "span",
      { class: "handled" },
      icon("done"),
      service(name),
      h("small", {}, ` +${lasting(Math.max(0, between(event.createTime, time)))}`),
    ),
  );

function pretty(body) {
  try {
    return JSON.stringify(JSON.parse(body), null, 2);
  } catch {
    return body ?? "";
  }
}
