// Orders, newest first.

import { h } from "./dom.js";
import { money } from "./money.js";
import { badge, choice, heading, nothing, reference, table } from "./parts.js";
import { href, refine } from "./router.js";
import { ago, between, moment, lasting } from "./time.js";
import { brief, count, enumWord, grouped, id } from "./words.js";

const PAGE = 25;
const MOST = 200;
const CUT = /^…/; // as a list shows ids
const WHOLE_ID = 30; // characters: what is shorter is a part of an id

const STATES = {
  STATE_PLACED: ["busy", "current"],
  STATE_CONFIRMED: ["good", "done"],
  STATE_REFUSED: ["bad", "refused"],
  STATE_CANCELLING: ["warn", "undone"],
  STATE_CANCELLED: ["quiet", "undone"],
};

const COLUMNS = [
  ["state"],
  ["order"],
  ["customer"],
  ["goods", "number"],
  ["total", "number"],
  ["placed"],
  ["took", "number"],
];

export const orders = {
  title: () => "Orders",

  load: ({ get, place }) =>
    get("/v1/orders", { page_size: size(place), order_by: "name desc", state: place.query.state }),

  render({ orders: found = [], nextPageToken }, { place }) {
    const part = place.query.id ?? "";
    const shown = found.filter((order) => order.name.includes(part));
    return [
      heading("Orders", search(place), states(place)),
      shown.length
        ? table("Orders", COLUMNS, shown.map(row))
        : nothing(part ? `None of the newest ${found.length} has “${part}” in its id.` : "No orders."),
      part && nextPageToken && h("p", { class: "more" }, `Sought among the newest ${found.length}; a whole id is found among all.`),
      nextPageToken && size(place) < MOST && more(place),
    ];
  },
};

/** The state of an order as a badge. */
export function orderState(state) {
  const [tone, sign] = STATES[state] ?? ["quiet", "unknown"];
  return badge(tone, sign, enumWord(state));
}

const size = (place) => (place.query.id ? MOST : Math.min(MOST, Number(place.query.show) || PAGE));
const more = (place) =>
  h(
    "p",
    { class: "more" },
    h("a", { href: href("orders", "", { ...place.query, show: size(place) + PAGE }) }, "Show more"),
  );

function row(order) {
  const pieces = (order.lines ?? []).reduce((sum, line) => sum + Number(line.quantity ?? 0), 0);
  return {
    key: order.name,
    cells: [
      orderState(order.state),
      reference(order.name),
      h("span", { title: order.customer }, brief(order.customer)),
      h("span", {}, grouped(pieces), h("small", {}, ` in ${count(order.lines?.length ?? 0, "line")}`)),
      money(order.total),
      h("span", { title: `${moment(order.placeTime)} UTC` }, ago(order.placeTime)),
      order.finalTime ? lasting(between(order.placeTime, order.finalTime)) : "…",
    ],
  };
}

function search(place) {
  const find = (event) => {
    event.preventDefault();
    const text = id(new FormData(event.target).get("id").trim()).replace(CUT, "");
    if (text.length >= WHOLE_ID) location.hash = href("orders", text);
    else refine(place, { id: text });
  };
  return h(
    "form",
    { class: "search", role: "search", onsubmit: find },
    h(
      "label",
      { class: "choice" },
      h("span", {}, "id"),
      h("input", {
        name: "id",
        type: "search",
        value: place.query.id ?? "",
        placeholder: "whole, or a part of it",
        autocomplete: "off",
        spellcheck: "false",
      }),
    ),
    h("button", {}, "Find"),
  );
}

const states = (place) =>
  choice(
    "state",
    place.query.state,
    [["", "all"], ...Object.keys(STATES).map((state) => [state, enumWord(state)])],
    (state) => refine(place, { state }),
  );
