// An order's whole story on one page, from every service that took part in it.

import { h } from "./dom.js";
import { happened } from "./happened.js";
import { isZero, money, times } from "./money.js";
import { orderState } from "./orders.js";
import { badge, facts, heading, nothing, reference, section, table } from "./parts.js";
import { outcomes } from "./outcomes.js";
import { sagaSteps } from "./saga.js";
import { readStory } from "./telling.js";
import { between, moment, lasting } from "./time.js";
import { brief, count, enumWord, grouped, id, plain } from "./words.js";
import { traceSection } from "./trace.js";

const LIVE_MS = 1000;
const SETTLED_MS = 5000;
const SETTLING_MS = 15_000;

export const order = {
  title: (place) => (place.argument ? `Order ${brief(place.argument)}` : "Orders"),
  load: readStory,
  beat_ms: (story) => (isSettled(story) ? SETTLED_MS : LIVE_MS),

  render(story, tell) {
    const { order: it, sagas, trace } = story;
    return [
      head(it),
      sagas === null
        ? section("Saga", null, nothing("Orders does not answer."))
        : sagas.map((one) => section(sagaTitle(one, it), sagaState(one), sagaSteps(one, trace?.spans))),
      traceSection(story, tell),
      h("div", { class: "columns" }, h("div", {}, goods(it), broughtBack(story.returns)), h("div", {}, outcomes(story))),
      happened(story),
    ];
  },
};

/** Whether nothing more is to be expected of an order: no step of its own, none of a return, no part that is missing. */
function isSettled({ order: it, returns, silent }) {
  if (silent.length || !returns?.every((one) => one.completeTime)) return false;
  return (
    Boolean(it.finalTime) && it.state !== "STATE_CANCELLING" && Date.now() - Date.parse(it.finalTime) > SETTLING_MS
  );
}

function head(it) {
  return [
    heading(h("span", {}, "Order ", h("span", { class: "id" }, id(it.name))), orderState(it.state)),
    it.refusal &&
      h(
        "p",
        { class: "refusal" },
        h("b", {}, it.refusal.reason),
        ` at ${plain(it.refusal.step) || "the buyer’s wish"}: ${it.refusal.message}`,
      ),
    h(
      "div",
      { class: "head" },
      facts([
        ["total", h("b", {}, money(it.total))],
        ["given back", !isZero(it.refunded) && money(it.refunded)],
        ["customer", id(it.customer)],
        ["reference", it.reference],
        ["goes to", it.shippingAddress?.regionCode],
        ["placed", `${moment(it.placeTime)} UTC`],
        ["took", it.finalTime && lasting(between(it.placeTime, it.finalTime))],
        ["version", it.etag],
      ]),
    ),
  ];
}

const sagaTitle = ({ kind, subject }, it) => (subject === it.name ? kind : [kind, " ", reference(subject)]);

function sagaState({ status, attempts, error }) {
  const tones = {
    done: ["good", "done"],
    undone: ["warn", "undone"],
    running: ["busy", "current"],
    unwinding: ["warn", "undone"],
    stuck: ["bad", "fault"],
  };
  const [tone, sign] = tones[status] ?? ["quiet", "unknown"];
  return [
    error && h("small", { class: "bad" }, `failed ${count(attempts ?? 0, "time")}: ${error}`),
    badge(tone, sign, status),
  ];
}

/** The returns of an order. */
function broughtBack(returns) {
  if (returns === null) return section("Returns", null, nothing("Orders does not answer."));
  if (!returns.length) return null;
  const columns = [["return"], ["state"], ["pieces", "number"], ["given back", "number"], ["asked for"]];
  const rows = returns.map((one) => ({
    key: one.name,
    cells: [
      reference(one.name),
      one.state === "STATE_COMPLETED" ? badge("good", "done", "completed") : badge("busy", "current", enumWord(one.state)),
      grouped((one.lines ?? []).reduce((sum, line) => sum + Number(line.quantity ?? 0), 0)),
      money(one.amount),
      h("time", { datetime: one.createTime }, moment(one.createTime)),
    ],
  }));
  return section("Returns", h("small", {}, count(returns.length, "return")), table("Returns", columns, rows));
}

/** What a charge says of itself that its kind does not. */
const described = ({ kind, description = "" }) =>
  description.toLowerCase() === enumWord(kind, "KIND") ? "" : description;

function goods({ lines = [], charges = [], total }) {
  const columns = [["what"], ["pieces", "number"], ["each", "number"], ["together", "number"]];
  const rows = [
    ...lines.map((line) => [
      [
        h("span", { class: "id" }, id(line.product)),
        line.returnedQuantity && h("small", {}, ` ${line.returnedQuantity} brought back`),
      ],
      grouped(line.quantity),
      money(line.unitPrice),
      money(times(line.unitPrice, line.quantity ?? 0)),
    ]),
    ...charges.map((charge) => [
      [enumWord(charge.kind, "KIND"), h("small", {}, ` ${described(charge)}`)],
      grouped(charge.quantity),
      money(charge.unitPrice),
      money(times(charge.unitPrice, charge.quantity ?? 0)),
    ]),
    [h("b", {}, "total"), "", "", h("b", {}, money(total))],
  ];
  return h(
    "div",
    { class: "goods" },
    section("Goods", h("small", {}, count(lines.length, "line")), table("Goods", columns, rows)),
  );
}
