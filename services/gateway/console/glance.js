// The whole system in one line of figures, and what the page remembers of the last minute for it.

import { h } from "./dom.js";
import { breakers, common, links } from "./fleet.js";
import { icon } from "./icons.js";
import { spark } from "./parts.js";
import { lasting } from "./time.js";
import { rate } from "./words.js";

const MINUTE = 60;
const RETURNED_MS = 15_000;

/** Return the figures' last minute, and the instances that came back from being away while the page looked. */
export function remember(before, fleet, found) {
  const now = sums(fleet, found);
  const history = Object.fromEntries(
    Object.entries(now).map(([name, value]) => [name, [...(before?.history?.[name] ?? []), value].slice(-MINUTE)]),
  );
  return { now, history, ...comeback(before, found) };
}

/**
 * Return since when instances are registered, and who `returned` from being away. All register anew with a mesh that is
 * new itself: what was known from the one before says nothing of them then.
 */
function comeback(before, found) {
  const returned = new Map([...(before?.returned ?? [])].filter(([, time]) => Date.now() - time < RETURNED_MS));
  const mesh = ofMesh(registered(found));
  if (!mesh.size) return { born: before?.born ?? new Map(), returned };
  const same = [...mesh].every(([name, time]) => before?.born.get(name) === time);
  const known = same ? before.born : ofMesh(before?.born ?? new Map());
  const now = registered(found);
  for (const [name, time] of now) if (known.has(name) && known.get(name) !== time) returned.set(name, Date.now());
  return { born: new Map([...known, ...now]), returned };
}

const registered = (found) =>
  new Map(
    [...found.values()]
      .flatMap((each) => each.instances.map((one) => [one.name, one.registerTime]))
      .filter(([, time]) => time),
  );

const ofMesh = (born) => new Map([...born].filter(([name]) => name.startsWith("mesh/")));

function sums(fleet, found) {
  const all = [...found.values()];
  const instances = all.flatMap((each) => each.instances);
  const entered = new Set([...links(fleet).values()].filter((link) => link.kind === "edge").map((link) => link.to));
  const edges = fleet.traffic?.edges ?? [];
  const [doors, within] = [
    edges.filter((edge) => !entered.has(edge.caller)),
    edges.filter((edge) => entered.has(edge.caller)),
  ];
  const commonOf = (name, part) => all.reduce((total, each) => total + common(each.instances, name, part), 0);
  const sum = (list, field) => list.reduce((total, { rates = {} }) => total + (rates[field] ?? 0), 0);
  return {
    requests: sum(doors, "callsPerSecond"),
    calls: sum(within, "callsPerSecond"),
    faults: sum(edges, "faultsPerSecond"),
    slowest: Math.max(0, ...doors.map(({ rates = {} }) => rates.p99S ?? 0)),
    waiting: commonOf("mercato.outbox.unpublished") + commonOf("mercato.consumer.pending"),
    live: commonOf("mercato.saga.live") - commonOf("mercato.saga.live", "=stuck"),
    stuck: commonOf("mercato.saga.live", "=stuck"),
    letters: commonOf("mercato.dead_letters"),
    breakers: fleet.mesh
      ? all.reduce((total, each) => total + breakers(each).length, 0)
      : edges.reduce((total, edge) => total + (edge.openBreakers ?? 0), 0),
    serving: instances.filter((one) => one.state === "STATE_SERVING").length,
    down: instances.filter((one) => one.state === "STATE_UNHEALTHY").length,
    known: instances.filter((one) => one.state && one.state !== "STATE_UNSPECIFIED").length,
  };
}

/** The line of figures. */
export function glance({ fleet, now, history }) {
  const told = Boolean(fleet.traffic);
  return h(
    "ul",
    { class: "glance", "aria-label": "At a glance" },
    figure(
      "Serving",
      fleet.mesh ? `${now.serving} of ${now.known}` : "–",
      now.down > 0 ? "bad" : now.serving < now.known && "warn",
    ),
    figure("Requests", told ? rate(now.requests) : "–", "", "/s", history.requests),
    figure("Calls within", told ? rate(now.calls) : "–", "", "/s", history.calls),
    figure("Errors", told ? rate(now.faults) : "–", now.faults > 0 && "bad", "/s", history.faults),
    figure("Slowest p99", told ? lasting(now.slowest * 1000) : "–"),
    figure("Events waiting", told ? now.waiting : "–", now.waiting > 100 && "warn", "", history.waiting),
    figure("Sagas live", told ? now.live : "–", "", "", history.live, "#/sagas"),
    figure("Sagas stuck", told ? now.stuck : "–", now.stuck > 0 && "bad", "", null, "#/sagas"),
    figure("Dead letters", told ? now.letters : "–", now.letters > 0 && "bad", "", null, "#/dead-letters"),
    figure("Breakers open", fleet.mesh || told ? now.breakers : "–", now.breakers > 0 && "bad"),
  );
}

function figure(name, value, tone, unit, values, place) {
  const text = [
    h("b", {}, tone === "bad" && icon("fault"), String(value), unit && h("small", {}, unit)),
    h("span", {}, name),
  ];
  return h("li", { class: tone || "" }, place ? h("a", { href: place }, text) : text, values && spark(values));
}
