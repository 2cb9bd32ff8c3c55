"""The table of log records."""

from __future__ import annotations

from datetime import datetime

from mercato.telemetry.v1.telemetry_pb2 import ListLogsRequest, LogRecord

from chassis.database import Database
from chassis.pages import Page, page_limit, position_of
from services.telemetry.filters import LATEST_NS, Filters
from services.telemetry.intake import Signal
from services.telemetry.logs import LogRow, render
from services.telemetry.tables import Table


class Logbook(Table):
    """Log records by their time."""

    def __init__(self, database: Database, signal: Signal) -> None:
        super().__init__(database, signal, "logs")

    async def write(self, rows: list[LogRow]) -> int:
        """Store records; return how many."""
        async with self._database.connection() as connection:
            await connection.copy_records_to_table("logs", records=rows, columns=LogRow._fields)
        return len(rows)

    async def page(self, request: ListLogsRequest) -> Page[LogRecord]:
        """Return one page, the newest first."""
        position, _, before = request.page_token.rpartition("/")
        filters = Filters("(time_ns, id) < ($1, $2)", position_of(before) or LATEST_NS, position_of(position))
        filters.add("trace_id = {}", request.trace.removeprefix("traces/"))
        filters.add("service = {}", request.service)
        filters.add("severity >= {}", request.min_severity)
        limit = page_limit(request.page_size) + 1
        rows = await self._database.rows(
            f"SELECT * FROM logs WHERE {filters} ORDER BY time_ns DESC, id DESC LIMIT {limit}",  # noqa: S608
            *filters.arguments,
        )
        records = [render(row) for row in rows]
        tokens = {id(record): f"{row['id']}/{row['time_ns']}" for record, row in zip(records, rows, strict=True)}
        return Page.of(records, request.page_size, lambda record: tokens[id(record)])

    async def expire(self, before: datetime, most: int) -> None:
        """Delete what is older, and the oldest of what is more."""
        await self._forget("age", "time_ns < $1", int(before.timestamp()) * 10**9)
        await self._forget("size", _BEYOND, most)


_BEYOND = "id <= (SELECT id FROM logs ORDER BY id DESC OFFSET $1 LIMIT 1)"
