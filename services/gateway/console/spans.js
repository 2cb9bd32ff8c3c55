// Spans as the rows of a waterfall. Pure.

import { milliseconds, nanoseconds } from "./time.js";

/**
 * Return the rows of a trace from top to bottom: `{ span, depth, children, offset, length }`, times in milliseconds from
 * the trace's beginning. Spans whose parent was not recorded stand at the top, as does the first of those that are parents
 * of each other; those below a `closed` one are left out.
 */
export function rows(spans, closed = new Set()) {
  const ids = new Set(spans.map((span) => span.id));
  const below = Map.groupBy(spans, (span) => (ids.has(span.parentId) ? span.parentId : ""));
  const begin = spans.reduce(
    (first, span) => (first === null || nanoseconds(span.startTime) < first ? nanoseconds(span.startTime) : first),
    null,
  );
  const found = [];
  const seen = new Set();
  const add = (span, depth, shown) => {
    if (seen.has(span)) return;
    seen.add(span);
    const children = (below.get(span.id) ?? []).filter((child) => !seen.has(child)).toSorted(byStart);
    if (shown)
      found.push({
        span,
        depth,
        children: children.length,
        offset: Number(nanoseconds(span.startTime) - begin) / 1e6,
        length: milliseconds(span.duration),
      });
    children.forEach((child) => add(child, depth + 1, shown && !closed.has(span.id)));
  };
  for (const span of [...(below.get("") ?? []).toSorted(byStart), ...spans.toSorted(byStart)]) add(span, 0, true);
  return found;
}

/** Return the ids of spans below which nothing failed or has parts of its own: calls, and their statements. */
export function plainCalls(spans) {
  const below = Map.groupBy(spans, (span) => span.parentId);
  const plain = (span) => !span.failed && !below.has(span.id);
  return spans.map((span) => span.id).filter((id) => below.get(id)?.every(plain));
}

/** Return the ids of the spans that one is below. */
export function above(spans, id) {
  const parents = new Map(spans.map((span) => [span.id, span.parentId]));
  const found = new Set();
  for (let at = parents.get(id); parents.has(at) && !found.has(at); at = parents.get(at)) found.add(at);
  return found;
}

const byStart = (a, b) => Number(nanoseconds(a.startTime) - nanoseconds(b.startTime)) || (a.id < b.id ? -1 : 1);

/** Return how many milliseconds the spans take from the first one's beginning to the last one's end. */
export const extent = (all) => Math.max(0.001, ...all.map((row) => row.offset + row.length));

/** Return round times that divide a length into about so many parts. */
export function ticks(length, parts) {
  const rough = length / parts;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= rough);
  return Array.from({ length: Math.floor(length / step) + 1 }, (_, index) => index * step);
}
