// A trace as a waterfall: a tree of spans at the left, their bars to scale at the right, one span's details beside.

import { h } from "./dom.js";
import { tint } from "./hue.js";
import { icon } from "./icons.js";
import { spanDetails } from "./span.js";
import { above, extent, plainCalls, rows, ticks } from "./spans.js";
import { lasting as words } from "./time.js";
import { method } from "./words.js";

const MANY = 120; // more begin with plain calls closed
const LAST_TICK = 0.92; // the text of one after it would stand out
const LAST_TICK_NARROW = 0.6; // there a label takes a third of the axis
const KINDS = { KIND_CLIENT: "call", KIND_PRODUCER: "event", KIND_CONSUMER: "event" };

/** Draw a trace. `tell.state` keeps which spans are closed and which one is chosen. */
export function waterfall(trace, tell) {
  const { state, place } = tell;
  const spans = trace.spans ?? [];
  if (state.trace !== trace.name)
    Object.assign(state, { trace: trace.name, closed: new Set(spans.length > MANY ? plainCalls(spans) : []), sought: "" });
  seek(spans, place?.query.span, state);
  const all = rows(spans, state.closed);
  const length = extent(rows(spans));
  const chosen = all.find((row) => row.span.id === state.span) ?? all.find((row) => row.span.failed) ?? all[0];
  if (!chosen) return null;
  const narrow = tell.width < 700;
  return h(
    "div",
    { class: "trace" },
    h(
      "div",
      { class: "waterfall" },
      h(
        "div",
        { class: "axis", "aria-hidden": "true" },
        ticks(length, narrow ? 3 : 6)
          .filter((ms) => ms < (narrow ? LAST_TICK_NARROW : LAST_TICK) * length)
          .map((ms) => tick(ms, length)),
      ),
      h(
        "div",
        { role: "tree", "aria-label": "Spans" },
        all.map((row) => line(row, length, row === chosen, tell)),
      ),
    ),
    spanDetails(chosen.span, chosen.offset),
  );
}

/** Choose the span that a place leads to, open what it is below, and bring it to where it can be seen: once. */
function seek(spans, id, state) {
  if (state.sought === id) return;
  Object.assign(state, { sought: id, span: id });
  for (const one of above(spans, id)) state.closed.delete(one);
  queueMicrotask(() => document.querySelector(`[role="treeitem"][data-key="${CSS.escape(id ?? "")}"]`)?.scrollIntoView(MIDDLE));
}

const MIDDLE = { block: "center" };

const tick = (ms, length) => h("span", { style: { "--at": String(ms / length) } }, h("i", {}, words(ms)));

function line(row, length, chosen, tell) {
  const { span, depth, children, offset, length: ms } = row;
  const at = offset / length;
  const part = Math.max(ms / length, 0.002);
  const side = at + part < 0.82 ? "after" : at > 0.18 ? "before" : "within";
  const open = !tell.state.closed.has(span.id);
  return h(
    "div",
    {
      role: "treeitem",
      class: `${chosen ? "on" : ""} ${span.failed ? "failed" : ""}`,
      "data-key": span.id,
      "aria-level": String(depth + 1),
      "aria-expanded": children ? String(open) : null,
      "aria-selected": String(chosen),
      tabindex: chosen ? "0" : "-1",
      style: { ...tint(span.service), "--depth": String(depth) },
      onfocus: () => choose(span.id, tell),
      onkeydown: (event) => steer(event, row, open, tell),
    },
    h(
      "span",
      { class: "label" },
      children
        ? h(
            "span",
            { class: `twist ${open ? "open" : ""}`, "aria-hidden": "true", onclick: () => toggle(span.id, tell) },
            icon("caret"),
          )
        : h("span", { class: "twist" }),
      h("i", { class: "swatch" }),
      h("span", { class: "who" }, span.service),
      KINDS[span.kind] && !span.attributes?.["db.system.name"] && icon(KINDS[span.kind]),
      h("span", { class: "name", title: span.name }, title(span)),
      span.failed && h("span", { class: "bad" }, icon("refused"), h("span", { class: "unseen" }, "failed")),
    ),
    h(
      "span",
      { class: `track ${side}`, style: { "--at": String(at), "--part": String(part) } },
      h("i", { class: "bar" }),
      h("small", {}, words(ms)),
    ),
  );
}

const title = (span) =>
  span.attributes?.["rpc.system.name"] ? method(span.name) : (span.name ?? "–").replace(/ mercato\.[\w.]*\./, " ");

function choose(id, { state, redraw }) {
  if (state.span === id) return;
  state.span = id;
  redraw();
}

function toggle(id, { state, redraw }) {
  if (!state.closed.delete(id)) state.closed.add(id);
  redraw();
}

/** Keys of a tree: https://www.w3.org/WAI/ARIA/apg/patterns/treeview/. */
function steer(event, { span, depth, children }, open, tell) {
  const row = event.currentTarget;
  const parent = () => {
    let above = row.previousElementSibling;
    while (above && Number(above.ariaLevel) > depth) above = above.previousElementSibling;
    return above;
  };
  const moves = {
    ArrowDown: () => row.nextElementSibling?.focus(),
    ArrowUp: () => row.previousElementSibling?.focus(),
    Home: () => row.parentElement.firstElementChild.focus(),
    End: () => row.parentElement.lastElementChild.focus(),
    ArrowRight: () => children && (open ? row.nextElementSibling?.focus() : toggle(span.id, tell)),
    ArrowLeft: () => (children && open ? toggle(span.id, tell) : parent()?.focus()),
    Enter: () => children && toggle(span.id, tell),
  };
  if (!moves[event.key]) return;
  event.preventDefault();
  moves[event.key]();
}
