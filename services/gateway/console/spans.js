// Spans as the rows of a waterfall. Pure.

import { milliseconds, nanoseconds } from "./time.js";

/**
 * Return the rows of a trace from top to bottom: `{ span, depth, children, offset, length }`, times in milliseconds from
 * the trace's beginning. Spans whose parent was not recorded stand at the top; those below a `closed` one are left out.
 */
export function rows(spans, closed = new Set()) {
  const ids = new Set(spans.map((span) => span.id));
  const below = Map.groupBy(spans, (span) => (ids.has(span.parentId) ? span.parentId : ""));
  const begin = spans.reduce(
    (first, span) => (first === null || nanoseconds(span.startTime) < first ? nanoseconds(span.startTime) : first),
    null,
  );
  const found = [];
  const add = (span, depth) => {
    const children = (below.get(span.id) ?? []).toSorted(byStart);
    found.push({
      span,
      depth,
      children: children.length,
      offset: Number(nanoseconds(span.startTime) - begin) / 1e6,
      length: milliseconds(span.duration),
    });
    if (!closed.has(span.id)) children.forEach((child) => add(child, depth + 1));
  };
  (below.get("") ?? []).toSorted(byStart).forEach((span) => add(span, 0));
  return found;
}

/** Return the ids of spans below which nothing failed, has parts of its own or is `sought`: calls, and their statements. */
export function plainCalls(spans, sought) {
  const below = Map.groupBy(spans, (span) => span.parentId);
  const plain = (span) => !span.failed && !below.has(span.id) && span.id !== sought;
  return spans.map((span) => span.id).filter((id) => below.get(id)?.every(plain));
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
