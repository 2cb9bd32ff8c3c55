"""The tables of spans and of the traces that they make."""

from __future__ import annotations

import asyncio
from typing import Any

from mercato.telemetry.v1.telemetry_pb2 import Trace

from chassis.clock import Clock
from chassis.database import Database
from chassis.errors import NotFound
from chassis.pages import LARGEST_PAGE_SIZE, Page
from services.telemetry.spans import SpanRow, render

_SUM_UP = """
INSERT INTO traces
SELECT trace_id, 'undecided', $2,
       (array_agg(name ORDER BY parent_id <> '', start_ns))[1],
       (array_agg(service ORDER BY parent_id <> '', start_ns))[1],
       min(start_ns), max(end_ns),
       count(DISTINCT span_id), count(DISTINCT span_id) FILTER (WHERE failed),
       (ARRAY(SELECT service FROM spans AS one WHERE one.trace_id = spans.trace_id
              GROUP BY service ORDER BY min(start_ns)))[1:50],
       coalesce((array_agg(DISTINCT subject) FILTER (WHERE subject <> ''))[1:50], '{}'),
       (array_agg(DISTINCT name))[1:200],
       coalesce(array_agg(DISTINCT keep) FILTER (WHERE keep <> ''), '{}')
FROM spans WHERE trace_id = ANY($1::text[]) GROUP BY trace_id
ON CONFLICT (trace_id) DO UPDATE SET
    (keep, update_time, root, service, start_ns, end_ns, span_count, error_count, services, subjects, names, reasons) =
    (EXCLUDED.keep, EXCLUDED.update_time, EXCLUDED.root, EXCLUDED.service, EXCLUDED.start_ns, EXCLUDED.end_ns,
     EXCLUDED.span_count, EXCLUDED.error_count, EXCLUDED.services, EXCLUDED.subjects, EXCLUDED.names, EXCLUDED.reasons)
"""


class Traces:
    """Spans by their trace."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._changing = asyncio.Lock()
        """Who changes many traces at once would wait for others, and they for it."""

    async def write(self, rows: list[SpanRow]) -> None:
        """Store spans, and what their traces say with them."""
        async with self._changing, self._database.transaction() as connection:
            await connection.copy_records_to_table("spans", records=rows, columns=SpanRow._fields)
            await connection.execute(_SUM_UP, list({row.trace_id for row in rows}), self._clock.now())

    async def get(self, name: str) -> Trace:
        """Return a trace with its spans, of very many the first; NotFound."""
        trace_id = name.removeprefix("traces/")
        row = await self._database.row("SELECT * FROM traces WHERE trace_id = $1", trace_id)
        if row is None:
            raise NotFound(name=name)
        spans = await self._database.rows(
            "SELECT DISTINCT ON (start_ns, span_id) * FROM spans WHERE trace_id = $1"
            " ORDER BY start_ns, span_id LIMIT $2",
            trace_id, LARGEST_PAGE_SIZE,
        )  # fmt: skip
        trace = _trace(row)
        trace.spans.extend(Page.of([render(each) for each in spans], LARGEST_PAGE_SIZE, lambda span: span.id).items)
        return trace


def _trace(row: Any) -> Trace:
    trace = Trace(
        name=f"traces/{row['trace_id']}",
        keep=Trace.Keep.Value(f"KEEP_{row['keep'].upper()}"),
        **{name: row[name] for name in ("root", "service", "span_count", "error_count", "services", "subjects")},
    )
    trace.start_time.FromNanoseconds(row["start_ns"])
    trace.duration.FromNanoseconds(row["end_ns"] - row["start_ns"])
    return trace
