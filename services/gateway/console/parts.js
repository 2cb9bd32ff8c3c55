// What views are put together from.

import { h, svg } from "./dom.js";
import { tint } from "./hue.js";
import { icon } from "./icons.js";
import { href } from "./router.js";
import { brief } from "./words.js";

/** A word with a colour and a sign. Tone: good, warn, bad, busy or quiet. */
export const badge = (tone, sign, word) => h("span", { class: `badge ${tone}` }, sign && icon(sign), word);

/** How many there are of what is bad, as a badge; while some who were asked are `silent`, nobody knows that there is none. */
export function tally(number, words, silent) {
  if (number) return badge("bad", "fault", words);
  return silent.length ? badge("warn", "unknown", "not all answer") : badge("good", "done", words);
}

/** Who of several cannot be asked. */
export const unanswered = (silent) => silent.length > 0 && nothing(`${silent.join(", ")} cannot be asked now.`);

/** A service in its colour, by its name or by that of an instance. */
export const service = (name = "", text = name) => h("span", { class: "service", style: tint(name) }, text);

/** The heading of a view; what follows stands at its right. */
export const heading = (text, ...beside) => h("div", { class: "heading" }, h("h1", {}, text), ...beside);

/** A part of a page under a heading of its own. */
export const section = (title, beside, ...content) =>
  h("section", { class: "panel" }, h("header", {}, h("h2", {}, title), beside), ...content);

/** What to say where there is nothing to show. */
export const nothing = (...text) => h("p", { class: "nothing" }, ...text);

/** What a person has to know about all that is shown. */
export const notice = (...text) => h("p", { class: "notice", role: "status" }, icon("fault"), h("span", {}, ...text));

/** A table. Columns: `[title, class]`; rows: arrays of cells, or `{ key, cells }`. It scrolls in its own box. */
export function table(caption, columns, rows) {
  return h(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h(
      "table",
      {},
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title)),
        ),
      ),
      h(
        "tbody",
        {},
        rows.map((row) => line(columns, row)),
      ),
    ),
  );
}

function line(columns, row) {
  const cells = row.cells ?? row;
  return h(
    "tr",
    { "data-key": row.key },
    cells.map((cell, index) => h("td", { class: columns[index]?.[1], "data-title": columns[index]?.[0] }, cell)),
  );
}

/** A list of terms and what they are; those without a value are left out. */
export const facts = (pairs) =>
  h(
    "dl",
    { class: "facts" },
    pairs
      .filter(([, value]) => ![undefined, null, false, ""].includes(value))
      .map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value))),
  );

/** A link to what a resource name stands for, where the console has a view of it; else its id. */
export function reference(name = "") {
  const [kind, id] = name.split("/");
  const views = { orders: "orders", traces: "traces" };
  const text = h("span", { class: "id", title: name }, brief(name));
  return views[kind] ? h("a", { href: href(views[kind], id) }, text) : text;
}

/** A choice among words that changes the query of a place. Options: `[value, text]`. */
export const choice = (label, value, options, choose) =>
  h(
    "label",
    { class: "choice" },
    h("span", {}, label),
    h(
      "select",
      { onchange: (event) => choose(event.target.value) },
      options.map(([one, text]) => h("option", { value: one, selected: one === (value ?? "") }, text)),
    ),
  );

/** A bar that is filled to a share, 0 to 1. */
export const meter = (share, tone, label) =>
  h(
    "span",
    { class: `meter ${tone}`, role: "img", "aria-label": label },
    h("i", { style: { width: `${100 * Math.min(1, Math.max(0, share))}%` } }),
  );

/** A line of values over time, small enough to stand in text. */
export function spark(values, width = 96, height = 22) {
  const most = Math.max(...values, 1e-9);
  const step = width / Math.max(59, values.length - 1);
  const from = width - step * (values.length - 1);
  const points = values.map(
    (value, index) =>
      `${(from + index * step).toFixed(1)},${(height - 1.5 - (value / most) * (height - 4)).toFixed(1)}`,
  );
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    values.length > 1 &&
      svg("path", { class: "area", d: `M${points.join("L")}L${width},${height}L${from.toFixed(1)},${height}Z` }),
    values.length > 1 && svg("path", { class: "stroke", d: `M${points.join("L")}` }),
  );
}
