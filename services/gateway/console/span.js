// All that is known of one span.

import { h } from "./dom.js";
import { badge, facts, reference, service } from "./parts.js";
import { href } from "./router.js";
import { between, milliseconds, lasting as words } from "./time.js";
import { enumWord } from "./words.js";

const SQL = "db.query.text";

/** The panel of a span that began so many milliseconds after its trace. */
export function spanDetails(span, offset) {
  const { [SQL]: sql, ...rest } = span.attributes ?? {};
  return h(
    "aside",
    { class: "span", "aria-label": "Chosen span", "data-key": span.id },
    h("h3", {}, span.name ?? "–"),
    h(
      "p",
      {},
      service(span.service),
      h("small", {}, ` ${[span.instance, span.version].filter(Boolean).join(" ")}, ${enumWord(span.kind, "KIND")}`),
    ),
    span.failed && h("p", { class: "bad" }, badge("bad", "refused", "failed"), " ", span.statusMessage ?? ""),
    facts([
      ["took", words(milliseconds(span.duration))],
      ["after", words(offset)],
    ]),
    sql && h("pre", { class: "sql", tabindex: "0", "aria-label": "Statement" }, sql),
    (span.events ?? []).map((event) => happening(event, span)),
    (span.links ?? []).map((link) =>
      h(
        "p",
        {},
        "Has to do with ",
        h("a", { href: href("traces", link.trace?.split("/")[1], { span: link.spanId }) }, `span ${link.spanId}`),
        link.trace && [" of ", reference(link.trace)],
      ),
    ),
    facts(Object.entries(rest).toSorted(([a], [b]) => (a < b ? -1 : 1))),
  );
}

const happening = (event, span) =>
  h(
    "section",
    { class: "happening" },
    h("h4", {}, event.name, h("small", {}, ` +${words(Math.max(0, between(span.startTime, event.time)))}`)),
    Object.entries(event.attributes ?? {}).map(([name, value]) =>
      name.endsWith("stacktrace")
        ? h("pre", { tabindex: "0", "aria-label": "Stack trace" }, value)
        : h("p", {}, h("small", {}, `${name} `), value),
    ),
  );
