// The live map: services with their instances, and what goes on between them.

import { readCourse } from "./course.js";
import { details } from "./details.js";
import { h, svg } from "./dom.js";
import { TOGETHER, breakers, common, gauge, links, readFleet, services } from "./fleet.js";
import { glance, remember } from "./glance.js";
import { health } from "./health.js";
import { tint } from "./hue.js";
import { icon } from "./icons.js";
import { CARD, layout } from "./layout.js";
import { notice, nothing } from "./parts.js";
import { href } from "./router.js";
import { lasting } from "./time.js";
import { rate } from "./words.js";

const ASIDE = 316;
const BESIDE = 1000; // where details stand beside the map, as the style sheet has it
const SERVICE = /^service\/(.+)$/;
const LATE_S = 1;
const HEAD = 62;
const ROW = 21;

export const map = {
  title: () => "Map",

  async load({ spare, place, before }) {
    const fleet = await readFleet(spare);
    const [found, wires] = [services(fleet), links(fleet)];
    const course = await readCourse(spare, SERVICE.exec(place.query.on)?.[1], before?.course);
    return { fleet, services: found, links: wires, course, ...remember(before, fleet, found) };
  },

  render(data, { place, width }) {
    const chosen = place.query.on ?? "";
    return [
      h("h1", { class: "unseen" }, "Map of services"),
      lacks(data.fleet),
      data.services.has(TOGETHER) && shared(),
      glance(data),
      data.services.size > 0 && h("div", { class: "mapped" }, drawn(data, chosen, width), details(data, chosen)),
    ];
  },
};

const shared = () =>
  nothing(
    "Services that share a process tell of queues, events and breakers in its name, together: there is their sum.",
  );

/** What cannot be shown, and why. */
function lacks({ mesh, traffic }) {
  if (!mesh && !traffic)
    return nothing(
      "Neither the mesh nor telemetry answers, or this suite runs without them: nothing is known of the services now.",
    );
  if (!traffic)
    return notice("Telemetry does not answer: rates of calls are those the mesh hears of, others are not known.");
  if (!mesh)
    return notice(
      "The mesh does not answer: instances are those that telemetry heard of in the last seconds; their health is not known.",
    );
  return null;
}

function drawn(data, chosen, width) {
  const nodes = [...data.services.values()].map(({ name, instances }) => ({
    name,
    height: HEAD + Math.max(1, instances.length) * ROW + 8,
  }));
  const known = [...data.links.values()].filter((link) => data.services.has(link.from) && data.services.has(link.to));
  const room = width >= BESIDE ? width - ASIDE : width;
  const plan = layout(nodes, known, room);
  const wide = plan.width <= room;
  const cards = plan.columns.flat().map((name) => {
    const incoming = known.filter((link) => link.to === name);
    return card(data, data.services.get(name), incoming, plan, chosen, wide);
  });
  if (!wide) return h("div", { class: "map stacked" }, cards);
  return h("div", { class: "map", style: { height: `${plan.height}px` } }, wires(known, plan, chosen), cards);
}

const wires = (known, plan, chosen) =>
  svg(
    "svg",
    { class: "wires", "aria-hidden": "true", height: plan.height },
    known.map((link) =>
      svg("path", {
        "data-key": link.key,
        class: `wire ${link.kind} ${mood(link)} ${touches(link, chosen) ? "on" : ""}`,
        d: plan.wires.get(link.key).path,
        "stroke-width": thickness(link).toFixed(1),
      }),
    ),
  );

const perSecond = (link) => link.edge?.rates?.callsPerSecond ?? link.stream?.eventsPerSecond ?? 0;
const thickness = (link) => 1.2 + 1.1 * Math.log2(1 + perSecond(link) / 2);
const touches = (link, chosen) =>
  chosen === link.key || chosen === `service/${link.from}` || chosen === `service/${link.to}`;

function mood(link) {
  if (link.edge?.rates?.faultsPerSecond || link.edge?.openBreakers || link.stream?.failuresPerSecond) return "bad";
  return perSecond(link) ? "busy" : "idle";
}

function card(data, service, incoming, plan, chosen, wide) {
  const { x, y, height } = plan.nodes.get(service.name);
  const style = wide ? { left: `${x}px`, top: `${y}px`, width: `${CARD}px`, height: `${height}px` } : {};
  const key = `service/${service.name}`;
  return h(
    "article",
    { class: `card ${chosen === key ? "on" : ""}`, "data-key": key, style: { ...tint(service.name), ...style } },
    h(
      "h2",
      {},
      h(
        "a",
        { href: href("map", "", { on: chosen === key ? "" : key }), "aria-current": chosen === key && "true" },
        service.name,
      ),
      h("span", { class: "figure" }, calls(service, data.fleet.traffic), h("small", {}, "/s")),
    ),
    served(service),
    queues(service, data.fleet.traffic),
    h(
      "ul",
      { class: "instances" },
      service.instances.map((one) => instance(one, data.returned)),
    ),
    incoming.length > 0 &&
      h(
        "ul",
        { class: "incoming" },
        incoming.map((link) => incomer(link, chosen, wide && { top: `${plan.wires.get(link.key).y}px` })),
      ),
  );
}

/** Calls a second: as its servers count them; where nobody tells what those count, as the mesh hears. */
function calls(service, told) {
  const counted = service.methods.reduce((sum, { rates = {} }) => sum + (rates.callsPerSecond ?? 0), 0);
  const heard = service.instances.reduce((sum, one) => sum + (one.callsPerSecond ?? 0), 0);
  return rate(told ? counted : heard);
}

function served(service) {
  if (!service.methods.length) return h("p", { class: "served" }, "\u00a0");
  const faults = service.methods.reduce((sum, { rates = {} }) => sum + (rates.faultsPerSecond ?? 0), 0);
  const called = service.methods.filter(({ rates }) => rates?.callsPerSecond);
  const slowest = Math.max(...called.map(({ rates }) => rates.p99S ?? 0));
  return h(
    "p",
    { class: "served" },
    h("span", {}, "p99 ", called.length ? lasting(slowest * 1000) : "–"),
    h("span", { class: faults ? "bad" : "" }, faults > 0 && icon("fault"), `${rate(faults)} err/s`),
  );
}

function queues(service, told) {
  const waiting =
    common(service.instances, "mercato.outbox.unpublished") + common(service.instances, "mercato.consumer.pending");
  const lag = Math.max(
    common(service.instances, "mercato.outbox.lag"),
    common(service.instances, "mercato.consumer.lag"),
  );
  const queued = gauge(service.instances, "mercato.server.calls.queued");
  const open = breakers(service).length;
  return h(
    "p",
    { class: "queues" },
    h("span", { class: queued ? "warn" : "" }, `queue ${told ? queued : "–"}`),
    h(
      "span",
      { class: lag > LATE_S ? "warn" : "" },
      `events ${told ? waiting : "–"}${waiting ? `, ${lasting(1000 * lag)}` : ""}`,
    ),
    open > 0 && h("span", { class: "bad" }, icon("open"), `${open} open`),
  );
}

function instance(one, returned) {
  const { tone, sign, word } = health(one, returned);
  return h(
    "li",
    { "data-key": one.name, class: tone, title: one.reason },
    icon(sign),
    h("span", { class: "name" }, one.name),
    h("span", { class: "version" }, one.version),
    tone === "good" ? h("span", { class: "unseen" }, word) : h("span", { class: "word" }, word),
    tone === "good" && h("span", { class: "figure" }, rate(one.callsPerSecond ?? 0)),
  );
}

function incomer(link, chosen, style) {
  const on = chosen === link.key;
  const place = { href: href("map", "", { on: on ? "" : link.key }), "aria-current": on && "true" };
  const from = h("span", { class: "from" }, `${link.from} → `);
  return h(
    "li",
    { "data-key": link.key, class: `${mood(link)} ${link.kind}`, style: style || {} },
    h(
      "a",
      place,
      from,
      link.stream
        ? flow(link.stream)
        : link.edge
          ? traffic(link.edge)
          : h("span", { class: "unseen idle" }, "no calls"),
    ),
  );
}

function traffic({ rates = {}, retriesPerSecond = 0, openBreakers = 0 }) {
  const calls = rates.callsPerSecond
    ? [
        h("b", {}, rate(rates.callsPerSecond), h("small", {}, "/s")),
        h("span", {}, `${short(rates.p50S)} / ${lasting(1000 * (rates.p99S ?? 0))}`),
      ]
    : h("span", { class: "unseen idle" }, "no calls");
  return [
    calls,
    trouble(
      rates.faultsPerSecond > 0 &&
        h(
          "em",
          { class: "bad" },
          icon("fault"),
          rate(rates.faultsPerSecond),
          h("span", { class: "unseen" }, " errors a second"),
        ),
      retriesPerSecond > 0 &&
        h(
          "em",
          { class: "warn" },
          icon("retry"),
          rate(retriesPerSecond),
          h("span", { class: "unseen" }, " retries a second"),
        ),
      openBreakers > 0 && h("em", { class: "bad" }, icon("open"), h("span", { class: "unseen" }, "breaker open")),
    ),
  ];
}

const trouble = (...signs) => signs.some(Boolean) && h("span", { class: "trouble" }, signs);
const short = (seconds = 0) => lasting(seconds * 1000).replace(" ms", "");

function flow({ eventsPerSecond, pending = 0, lagS = 0, failuresPerSecond = 0 }) {
  return [
    icon("event"),
    h("b", {}, rate(eventsPerSecond), h("small", {}, "/s")),
    h("span", {}, `${Math.round(pending)} wait, ${lasting(lagS * 1000)}`),
    trouble(
      failuresPerSecond > 0 &&
        h(
          "em",
          { class: "bad" },
          icon("fault"),
          rate(failuresPerSecond),
          h("span", { class: "unseen" }, " failures a second"),
        ),
    ),
  ];
}
