// What came of an order elsewhere: reservation, payment with its ledger entries, shipment, mails.

import { h } from "./dom.js";
import { isZero, money } from "./money.js";
import { badge, facts, nothing, section, table } from "./parts.js";
import { clock, moment } from "./time.js";
import { count, enumWord, grouped, last, plain } from "./words.js";

const TONES = {
  STATE_HELD: ["busy", "current"],
  STATE_COMMITTED: ["good", "done"],
  STATE_RELEASED: ["warn", "undone"],
  STATE_EXPIRED: ["bad", "fault"],
  STATE_AUTHORIZED: ["busy", "current"],
  STATE_CAPTURED: ["good", "done"],
  STATE_VOIDED: ["warn", "undone"],
  STATE_BOOKED: ["good", "done"],
  STATE_DISPATCHED: ["good", "call"],
  STATE_DELIVERED: ["good", "done"],
  STATE_CANCELLED: ["warn", "undone"],
  STATE_RECALLED: ["warn", "undone"],
  STATE_KEPT: ["good", "mail"],
  STATE_QUEUED: ["busy", "current"],
  STATE_SENDING: ["busy", "current"],
  STATE_SENT: ["good", "mail"],
};

/** What to say of a part that is not there, or whose service does not tell. */
const missing = (part, service, none) => nothing(part === null ? `${service} does not answer.` : none);

/** The sections of what came of it. */
export const outcomes = (story) => [
  section("Reservation", state(story.reservation), ofReservation(story.reservation)),
  section("Payment and ledger", state(story.payment), ofPayment(story.payment, story.entries)),
  section("Shipment", state(story.shipment), ofShipment(story.shipment)),
  section("Mails", null, ofMails(story.mails)),
];

function state(part) {
  if (!part) return null;
  const known = part.state === "STATE_REFUSED" ? ["bad", "refused"] : TONES[part.state];
  const [tone, sign] = known ?? ["quiet", "unknown"];
  return badge(tone, sign, enumWord(part.state));
}

function ofReservation(reservation) {
  if (!reservation) return missing(reservation, "Inventory", "Nothing was held.");
  const { lines = [] } = reservation;
  const pieces = lines.reduce((sum, line) => sum + Number(line.quantity ?? 0), 0);
  return facts([
    ["pieces", `${grouped(pieces)} of ${count(lines.length, "product")}`],
    [
      "held until",
      reservation.state === "STATE_HELD" && reservation.expireTime ? `${moment(reservation.expireTime)} UTC` : "",
    ],
  ]);
}

function ofPayment(payment, entries) {
  if (!payment) return missing(payment, "Payments", "No money was moved.");
  return [
    facts([
      ["asked for", money(payment.amount)],
      ["taken", !isZero(payment.captured) && money(payment.captured)],
      ["given back", !isZero(payment.refunded) && money(payment.refunded)],
      ["processor", payment.processorReference],
    ]),
    entries === null && nothing("The ledger does not answer."),
    entries?.length > 0 &&
      table(
        "Ledger entries",
        [["entry"], ["debit"], ["credit"], ["amount", "number"]],
        entries.map((entry) => [
          h("span", { class: "id" }, last(entry.name)),
          plain(entry.debitAccount),
          plain(entry.creditAccount),
          money(entry.amount),
        ]),
      ),
  ];
}

function ofShipment(shipment) {
  if (!shipment) return missing(shipment, "Shipping", "Nothing was sent.");
  return [
    facts([
      ["pieces", grouped(shipment.pieces)],
      ["tracking", h("span", { class: "id" }, shipment.trackingNumber || "–")],
    ]),
    (shipment.trackingEvents ?? []).map((event) =>
      h("p", {}, h("small", {}, `${moment(event.eventTime)} `), event.description),
    ),
  ];
}

function ofMails(mails) {
  if (mails === null) return nothing("Notifications do not answer.");
  if (!mails.length) return nothing("None yet.");
  return h(
    "ul",
    { class: "mails" },
    mails.map((mail) =>
      h(
        "li",
        {},
        state(mail),
        h("span", {}, mail.subject),
        h("small", {}, `${clock(mail.createTime)}, of ${last(mail.eventType)}`),
      ),
    ),
  );
}
