// Gathers an order's story: what each service has of it. What cannot be had is null, and nothing is asked for before it
// is there.

import { perhaps } from "./api.js";
import { readFleet, thoseWith } from "./fleet.js";
import { chosenTrace } from "./trace.js";

/** What bears the order's id, by the service that keeps it. */
const PARTS = { orders: "orders", inventory: "reservations", payments: "payments", shipping: "shipments" };

/** Read an order and all that belongs to it. */
export async function readStory({ get, place, before }) {
  const id = place.argument;
  const name = `orders/${id}`;
  const [{ order }, sagas, traces, events, mails, consumers] = await Promise.all([
    get(`/v1/${name}`),
    perhaps(get("/v1/services/orders/sagas", { subject: name })),
    perhaps(get("/v1/traces", { subject: name })),
    Promise.all(Object.entries(PARTS).map(([service, kind]) => eventsOf(get, service, `${kind}/${id}`))),
    perhaps(get("/v1/mails", { regarding: name })),
    before?.consumers.length ? before.consumers : readConsumers(get),
  ]);
  const found = traces && (traces.traces ?? []).toReversed();
  const told = events.every((list) => list === null) ? null : events.flatMap((list) => list ?? []).sort(byTime);
  const began = (kind) => told?.some((event) => event.subject === `${kind}/${id}`) ?? order.state === "STATE_CONFIRMED";
  const part = (kind, field) =>
    began(kind) ? perhaps(get(`/v1/${kind}/${id}`)).then((answer) => answer?.[field]) : null;
  const [trace, handled, reservation, payment, shipment, entries] = await Promise.all([
    readTrace(get, chosenTrace(found, place), before?.trace),
    readHandled(get, consumers, told),
    part("reservations", "reservation"),
    part("payments", "payment"),
    part("shipments", "shipment"),
    began("payments") ? perhaps(get("/v1/ledger/entries", { subject: `payments/${id}` })) : null,
  ]);
  return {
    order,
    trace,
    handled,
    consumers,
    reservation,
    payment,
    shipment,
    traces: found,
    sagas: sagas && (sagas.sagas ?? []),
    events: told,
    mails: mails && (mails.mails ?? []),
    entries: entries?.entries ?? [],
  };
}

const byTime = (a, b) => (a.createTime < b.createTime ? -1 : 1);

async function eventsOf(get, service, subject) {
  const answer = await perhaps(get(`/v1/services/${service}/events`, { subject }));
  return answer && (answer.events ?? []).map((event) => ({ ...event, service }));
}

async function readConsumers(get) {
  return thoseWith(await readFleet(get), "mercato.consumer.pending");
}

/** Return who handled what: a Map from an event's id to `[{ service, time }]`. */
async function readHandled(get, consumers, events) {
  const ids = (events ?? []).map((event) => event.id);
  const handled = new Map();
  if (!ids.length) return handled;
  const answers = await Promise.all(
    consumers.map((service) => perhaps(get(`/v1/services/${service}/handledEvents`, { ids }))),
  );
  answers.forEach((answer, index) => {
    for (const { id, handleTime } of answer?.events ?? []) {
      handled.set(id, [...(handled.get(id) ?? []), { service: consumers[index], time: handleTime }]);
    }
  });
  return handled;
}

/** Read a trace with its spans, unless that is what we have. */
async function readTrace(get, listed, before) {
  if (!listed) return null;
  if (before?.name === listed.name && before.spanCount === listed.spanCount) return before;
  return (await perhaps(get(`/v1/${listed.name}`)))?.trace ?? null;
}
