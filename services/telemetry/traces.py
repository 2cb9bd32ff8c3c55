"""The tables of spans and of the traces that they make."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from mercato.telemetry.v1.telemetry_pb2 import ListTracesRequest, Trace

from chassis.clock import Clock
from chassis.connections import Connection
from chassis.database import Database
from chassis.errors import NotFound
from chassis.pages import LARGEST_PAGE_SIZE, Page, page_limit, position_of
from services.telemetry.domain import DECIDE_S, keep
from services.telemetry.filters import LATEST_NS, Filters
from services.telemetry.intake import Signal
from services.telemetry.spans import SpanRow, render
from services.telemetry.tables import Table

MOST_SPANS = 10_000
"""In one trace; what comes beyond is dropped."""
_ADD = """
INSERT INTO spans
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                     $8::bigint[], $9::bigint[], $10::boolean[], $11::text[], $12::text[], $13::bytea[])
ON CONFLICT DO NOTHING RETURNING trace_id
"""
_SUM_UP = """
INSERT INTO traces
SELECT trace_id, 'undecided', $2,
       (array_agg(name ORDER BY parent_id <> '', start_ns))[1],
       (array_agg(service ORDER BY parent_id <> '', start_ns))[1],
       min(start_ns), max(end_ns),
       count(*), count(*) FILTER (WHERE failed),
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
RETURNING trace_id, span_count
"""

_TOLD = "trace_id, keep, root, service, start_ns, end_ns, span_count, error_count, services, subjects"
_AGED = "SELECT trace_id FROM traces WHERE update_time < $1"
_TOO_MANY = """
SELECT trace_id FROM (SELECT trace_id, sum(span_count) OVER (ORDER BY update_time DESC, trace_id) AS total FROM traces)
WHERE total > $1
"""


class Traces(Table):
    """Spans by their trace."""

    def __init__(self, database: Database, signal: Signal, clock: Clock, keep_ratio: float = 1.0) -> None:
        super().__init__(database, signal, "spans")
        self._clock = clock
        self._keep_ratio = keep_ratio
        self._overgrown: set[str] = set()
        """Traces that take no more spans."""
        self._changing = asyncio.Lock()
        """Who changes many traces at once would wait for others, and they for it."""

    async def write(self, rows: list[SpanRow]) -> int:
        """Store spans, and what their traces say with them; return how many were new, and had room in their trace."""
        wanted = [row for row in rows if row.trace_id not in self._overgrown]
        self._signal.drop("full", len(rows) - len(wanted))
        if not wanted:
            return 0
        async with self._changing, self._database.transaction() as connection:
            added = [row["trace_id"] for row in await connection.fetch(_ADD, *zip(*wanted, strict=True))]
            traces = await connection.fetch(_SUM_UP, list(set(added)), self._clock.now())
        self._overgrown.update(row["trace_id"] for row in traces if row["span_count"] >= MOST_SPANS)
        return len(added)

    async def get(self, name: str) -> Trace:
        """Return a trace with its spans, of very many the first; NotFound."""
        trace_id = name.removeprefix("traces/")
        row = await self._database.row("SELECT * FROM traces WHERE trace_id = $1", trace_id)
        if row is None:
            raise NotFound(name=name)
        spans = await self._database.rows(
            "SELECT * FROM spans WHERE trace_id = $1 ORDER BY start_ns, span_id LIMIT $2", trace_id, LARGEST_PAGE_SIZE
        )
        trace = _trace(row)
        trace.spans.extend(Page.of([render(each) for each in spans], LARGEST_PAGE_SIZE, lambda span: span.id).items)
        return trace

    async def page(self, request: ListTracesRequest) -> Page[Trace]:
        """Return one page without spans, the newest first."""
        token, limit = request.page_token, page_limit(request.page_size) + 1
        filters = Filters("(start_ns, trace_id) < ($1, $2)", position_of(token) or LATEST_NS, token.partition("/")[0])
        filters.add("{} = ANY(services)", request.service)
        filters.add("subjects @> ARRAY[{}]", request.subject)
        filters.add("{} = ANY(names)", request.span_name)
        filters.add("end_ns - start_ns >= {}", min(request.min_duration.ToNanoseconds(), LATEST_NS))
        filters.add("keep = {}", Trace.Keep.Name(request.keep).removeprefix("KEEP_").lower() if request.keep else "")
        rows = await self._database.rows(
            f"SELECT {_TOLD} FROM traces WHERE {filters} ORDER BY start_ns DESC, trace_id DESC LIMIT {limit}",  # noqa: S608
            *filters.arguments,
        )
        return Page.of([_trace(row) for row in rows], request.page_size, _token)

    async def decide(self) -> None:
        """Decide about the traces that are quiet: those not to be kept are deleted."""
        quiet_since = self._clock.now() - timedelta(seconds=DECIDE_S)
        async with self._changing, self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT trace_id, reasons FROM traces WHERE keep = 'undecided' AND update_time <= $1 LIMIT 10000",
                quiet_since,
            )
            decided: defaultdict[str, list[str]] = defaultdict(list)
            for row in rows:
                decided[keep(row["trace_id"], row["reasons"], self._keep_ratio)].append(row["trace_id"])
            dropped = await self._delete(connection, decided.pop("", []))
            for reason, ids in decided.items():
                await connection.execute("UPDATE traces SET keep = $1 WHERE trace_id = ANY($2::text[])", reason, ids)
        self._signal.forget("rate", dropped)

    async def expire(self, before: datetime, most: int) -> None:
        """Delete traces that are older, and of what is more than so many spans those of the oldest."""
        for reason, query, argument in ("age", _AGED, before), ("size", _TOO_MANY, most):
            async with self._changing, self._database.transaction() as connection:
                ids = [row["trace_id"] for row in await connection.fetch(query, argument)]
                deleted = await self._delete(connection, ids)
            self._signal.forget(reason, deleted)

    async def _delete(self, connection: Connection, trace_ids: list[str]) -> int:
        """Delete traces; return how many spans they had."""
        if not trace_ids:
            return 0
        self._overgrown.difference_update(trace_ids)
        await connection.execute("DELETE FROM traces WHERE trace_id = ANY($1::text[])", trace_ids)
        done = await connection.execute("DELETE FROM spans WHERE trace_id = ANY($1::text[])", trace_ids)
        return int(done.removeprefix("DELETE "))


def _token(trace: Trace) -> str:
    return f"{trace.name.removeprefix('traces/')}/{trace.start_time.ToNanoseconds()}"


def _trace(row: Any) -> Trace:
    trace = Trace(
        name=f"traces/{row['trace_id']}",
        keep=Trace.Keep.Value(f"KEEP_{row['keep'].upper()}"),
        **{name: row[name] for name in ("root", "service", "span_count", "error_count", "services", "subjects")},
    )
    trace.start_time.FromNanoseconds(row["start_ns"])
    trace.duration.FromNanoseconds(row["end_ns"] - row["start_ns"])
    return trace
