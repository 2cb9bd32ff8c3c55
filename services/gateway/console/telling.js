// Gathers an order's story: what each service has of it. Undefined is what is not there, null what cannot be had now;
// nothing is asked for before it is there, nor of who does not even tell its events.

import { readFleet, readKeepers, thoseWith } from "./fleet.js";
import { chosenTrace } from "./trace.js";

/** What bears the order's id, by the service that keeps it. */
const PARTS = { orders: "orders", inventory: "reservations", payments: "payments", shipping: "shipments" };

/** Read an order and all that belongs to it, its returns too. */
export async function readStory({ get, spare, place, before }) {
  const id = place.argument;
  const name = `orders/${id}`;
  const [{ order }, returns, traces, consumers] = await Promise.all([
    get(`/v1/${name}`),
    list(spare("/v1/returns", { order: name }), "returns"),
    list(spare("/v1/traces", { subject: name }), "traces"),
    before?.consumers ?? readConsumers(get, spare),
  ]);
  const subjects = [name, ...(returns ?? []).map((one) => one.name)];
  const [sagas, mails, told] = await Promise.all([
    lists(subjects, (subject) => list(spare("/v1/services/orders/sagas", { subject }), "sagas")),
    lists(subjects, (regarding) => list(spare("/v1/mails", { regarding }), "mails")),
    readEvents(spare, id, returns ?? []),
  ]);
  const found = traces?.toReversed() ?? null;
  const part = async (service, field, path = `/v1/${PARTS[service]}/${id}`, query) => {
    if (told.silent.includes(service)) return null;
    if (!told.events.some((event) => event.subject === `${PARTS[service]}/${id}`)) return undefined;
    const answer = await spare(path, query);
    return answer && (answer[field] ?? []);
  };
  const [trace, handled, reservation, payment, shipment, entries] = await Promise.all([
    readTrace(spare, chosenTrace(found, place), before?.trace),
    readHandled(spare, consumers, told),
    part("inventory", "reservation"),
    part("payments", "payment"),
    part("shipping", "shipment"),
    part("payments", "entries", "/v1/ledger/entries", { subject: `payments/${id}` }),
  ]);
  return {
    order,
    returns,
    trace,
    handled,
    consumers,
    reservation,
    payment,
    shipment,
    sagas,
    mails,
    entries,
    traces: found,
    events: told.events,
    silent: told.silent,
  };
}

/** Return a list that an answer holds; null where there was no answer. */
const list = async (asked, field) => {
  const answer = await asked;
  return answer ? (answer[field] ?? []) : null;
};

/** Return the lists of several subjects as one; null where one of them is missing. */
async function lists(subjects, read) {
  const all = await Promise.all(subjects.map(read));
  return all.includes(null) ? null : all.flat();
}

/** Return the events of an order and its returns, and the services that do not tell theirs. */
async function readEvents(spare, id, returns) {
  const sources = [
    ...Object.entries(PARTS).map(([service, kind]) => ({ service, subject: `${kind}/${id}` })),
    ...returns.map(({ name }) => ({ service: "orders", subject: name })),
  ];
  const answers = await Promise.all(
    sources.map(({ service, subject }) => list(spare(`/v1/services/${service}/events`, { subject }), "events")),
  );
  const events = sources.flatMap(({ service }, index) => (answers[index] ?? []).map((event) => ({ ...event, service })));
  const silent = sources.filter((_, index) => answers[index] === null).map(({ service }) => service);
  return { events: events.sort(byTime), silent: [...new Set(silent)] };
}

const byTime = (a, b) => (a.createTime < b.createTime ? -1 : 1);

async function readConsumers(get, spare) {
  const [fleet, keepers] = await Promise.all([readFleet(spare), readKeepers(get)]);
  return thoseWith(fleet, keepers, "mercato.consumer.pending");
}

/** Return who handled what, a Map from an event's id to `[{ service, time }]`, and the consumers that do not tell. */
async function readHandled(spare, consumers, { events, silent }) {
  const ids = events.map((event) => event.id);
  const handled = new Map();
  if (!ids.length) return { handled, silent: [] };
  const answers = await Promise.all(
    consumers.map((service) =>
      silent.includes(service) ? null : list(spare(`/v1/services/${service}/handledEvents`, { ids }), "events"),
    ),
  );
  answers.forEach((found, index) => {
    for (const { id, handleTime } of found ?? []) {
      handled.set(id, [...(handled.get(id) ?? []), { service: consumers[index], time: handleTime }]);
    }
  });
  return { handled, silent: consumers.filter((_, index) => answers[index] === null) };
}

/** Read a trace with its spans, unless that is what we have. */
async function readTrace(spare, listed, before) {
  if (!listed) return null;
  if (before?.name === listed.name && before.spanCount === listed.spanCount) return before;
  return (await spare(`/v1/${listed.name}`))?.trace ?? null;
}
