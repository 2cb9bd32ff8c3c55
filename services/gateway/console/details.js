// What stands beside the map: all that is known of the service or the wire that was chosen, else how to read it.

import { h } from "./dom.js";
import { breakers } from "./fleet.js";
import { health } from "./health.js";
import { icon } from "./icons.js";
import { badge, facts, service as named, spark } from "./parts.js";
import { policyWords } from "./policies.js";
import { href } from "./router.js";
import { ago, lasting } from "./time.js";
import { count, grouped, last, method, rate } from "./words.js";

/** The panel for what is chosen: `service/orders`, `edge/orders/payments`, `stream/orders/notifications` or nothing. */
export function details(data, chosen) {
  const [kind, name] = chosen.split("/");
  const link = data.links.get(chosen);
  const service = kind === "service" && data.services.get(name);
  const content = service ? ofService(service, data) : link ? ofLink(link, data) : legend();
  return h("aside", { class: "details", "aria-label": "Details", "data-key": chosen || "legend" }, content);
}

const title = (...text) =>
  h(
    "header",
    {},
    h("h2", {}, ...text),
    h("a", { class: "close", href: href("map"), "aria-label": "Close details" }, icon("unhealthy")),
  );

function ofService(service, { returned, course }) {
  return [
    title(named(service.name)),
    course?.service === service.name &&
      h(
        "section",
        { class: "course" },
        h("h3", {}, "The last quarter of an hour"),
        line("calls/s", course.calls, rate),
        line("p99", course.slowest, (s) => lasting(1000 * s)),
      ),
    service.instances.map((one) => ofInstance(one, returned)),
    methods(service.methods),
    ofBreakers(breakers(service)),
    service.policy &&
      h(
        "section",
        {},
        h("h3", {}, "Traffic policy"),
        policyWords(service.policy).map((said) => h("p", {}, said)),
      ),
    h(
      "p",
      { class: "more" },
      h("a", { href: href("traces", "", { service: service.name }) }, "Traces"),
      " · ",
      h("a", { href: href("logs", "", { service: service.name }) }, "Logs"),
    ),
  ];
}

const line = (name, values, words) =>
  h("p", {}, h("span", {}, name), spark(values, 200, 30), h("small", {}, `at most ${words(Math.max(...values))}`));

function ofInstance(one, returned) {
  const { tone, sign, word } = health(one, returned);
  const vitals = one.vitals ?? {};
  const gauges = one.gauges ?? {};
  const used = Object.entries(gauges).find(
    ([name]) => name.startsWith("db.client.connection.count") && name.includes("used"),
  );
  const memory = gauges["process.memory.usage"];
  return h(
    "section",
    { "data-key": one.name },
    h("h3", {}, one.name, badge(tone, sign, word)),
    one.reason && h("p", { class: tone }, one.reason),
    facts([
      ["version", one.version],
      ["since", one.registerTime && ago(one.registerTime)],
      ["calls", one.callsPerSecond !== undefined && `${rate(one.callsPerSecond)}/s`],
      ["share", one.trafficShare && `${Math.round(100 * one.trafficShare)} %`],
      ["in flight", one.vitals && `${vitals.callsInFlight ?? 0} of ${vitals.concurrencyLimit ?? "–"}`],
      ["shed", Number(vitals.shedCalls) > 0 && grouped(vitals.shedCalls)],
      ["retries", Number(vitals.retries) > 0 && grouped(vitals.retries)],
      [
        "outbox",
        gauges["mercato.outbox.unpublished"] !== undefined &&
          `${gauges["mercato.outbox.unpublished"]}, ${lasting(1000 * (gauges["mercato.outbox.lag"] ?? 0))}`,
      ],
      ["connections", used && `${used[1]} of ${gauges["db.client.connection.max"] ?? "–"}`],
      ["loop delay", gauges["mercato.loop.delay"] !== undefined && lasting(1000 * gauges["mercato.loop.delay"])],
      ["memory", memory && `${Math.round(memory / 2 ** 20)} MiB`],
    ]),
  );
}

function methods(served) {
  if (!served.some((one) => one.rates?.callsPerSecond)) return null;
  const called = served.filter((one) => one.rates?.callsPerSecond);
  const busiest = called.toSorted((a, b) => (b.rates?.callsPerSecond ?? 0) - (a.rates?.callsPerSecond ?? 0));
  return h(
    "section",
    {},
    h("h3", {}, "Methods"),
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          ["method", "/s", "err/s", "p99"].map((name, index) =>
            h("th", { scope: "col", class: index && "number" }, name),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        busiest.slice(0, 12).map(({ method: name, rates = {} }) => row(method(name), rates)),
      ),
    ),
  );
}

const row = (name, rates) =>
  h(
    "tr",
    {},
    h("th", { scope: "row" }, name),
    h("td", { class: "number" }, rate(rates.callsPerSecond)),
    h("td", { class: `number ${rates.faultsPerSecond ? "bad" : ""}` }, rate(rates.faultsPerSecond)),
    h("td", { class: "number" }, lasting(1000 * (rates.p99S ?? 0))),
  );

function ofBreakers(open) {
  if (!open.length) return null;
  const words = { STATE_OPEN: "open", STATE_HALF_OPEN: "half open" };
  return h(
    "section",
    {},
    h("h3", {}, "Circuit breakers"),
    open.map((one) =>
      h(
        "p",
        {},
        badge("bad", "open", words[one.state] ?? "open"),
        ` ${last(one.method)} of ${one.callee}, in ${one.by}`,
      ),
    ),
  );
}

function ofLink({ kind, from, to, edge, stream }, data) {
  const ends = [named(from), h("span", { class: "arrow" }, icon(kind === "edge" ? "call" : "event")), named(to)];
  if (stream) {
    return [
      title(...ends),
      h("p", {}, "Events over the bus."),
      facts([
        ["handled", `${rate(stream.eventsPerSecond)}/s`],
        ["failed", `${rate(stream.failuresPerSecond)}/s`],
        ["waiting", count(Math.round(stream.pending ?? 0), "event")],
        ["lag", lasting(1000 * (stream.lagS ?? 0))],
      ]),
    ];
  }
  const rates = edge?.rates ?? {};
  const open = breakers(data.services.get(from)).filter((one) => one.callee === to);
  return [
    title(...ends),
    h("p", {}, "Calls as the caller sees them."),
    facts([
      ["calls", `${rate(rates.callsPerSecond)}/s`],
      ["errors", `${rate(rates.faultsPerSecond)}/s`],
      ["refusals", `${rate(rates.refusalsPerSecond)}/s`],
      ["p50", lasting(1000 * (rates.p50S ?? 0))],
      ["p99", lasting(1000 * (rates.p99S ?? 0))],
      ["retries", `${rate(edge?.retriesPerSecond)}/s`],
      ["open breakers", String(edge?.openBreakers ?? 0)],
    ]),
    ofBreakers(open),
    h("p", { class: "more" }, h("a", { href: href("traces", "", { service: to }) }, `Traces through ${to}`)),
  ];
}

const legend = () => [
  h("header", {}, h("h2", {}, "How to read it")),
  h("p", {}, "Choose a service or a wire to see all that is known of it."),
  h(
    "ul",
    { class: "legend" },
    h("li", {}, h("i", { class: "wire-sample" }), "calls; the wider, the more"),
    h("li", {}, h("i", { class: "wire-sample stream" }), "events over the bus"),
    h("li", {}, h("i", { class: "wire-sample bad" }), "calls that fail, or a breaker open"),
    h("li", {}, h("i", { class: "wire-sample idle" }), "no calls now"),
    h("li", {}, h("b", {}, "38/s"), "3 / 12 ms: half of the calls take 3 ms at most, 99 of 100 take 12 ms"),
    h("li", {}, icon("fault"), "errors a second"),
    h("li", {}, icon("retry"), "retries a second"),
    h("li", {}, icon("open"), "open circuit breaker"),
    h("li", { class: "good" }, icon("serving"), "serving"),
    h("li", { class: "warn" }, icon("draining"), "draining: no new calls"),
    h("li", { class: "bad" }, icon("unhealthy"), "down, or not ready"),
  ),
];
