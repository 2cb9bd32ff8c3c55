"""The table of mails, and their way out of it."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
from mercato.notifications.v1.notifications_pb2 import Mail

from chassis.clock import timestamp
from chassis.database import Batch, Database
from chassis.errors import NotFound
from chassis.pages import Page, page_limit
from chassis.telemetry.trace import Trace


class Mailbox:
    """Mails by name."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, batch: Batch, mail: Mail, trace: Trace) -> None:
        """Add a mail, and the trace it is written in, to what commits; a second one of that name is not written."""
        batch.add(
            "INSERT INTO mails VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, $9) ON CONFLICT (name) DO NOTHING",
            mail.name, mail.state, mail.recipient, mail.subject, mail.body, mail.regarding, mail.event_type,
            mail.create_time.ToDatetime(UTC), trace.traceparent,
        )  # fmt: skip

    async def get(self, name: str) -> Mail:
        """Return a mail; NotFound when there is none."""
        row = await self._database.row("SELECT * FROM mails WHERE name = $1", name)
        if row is None:
            raise NotFound(name=name)
        return _mail(row)

    async def page(self, page_size: int, page_token: str, regarding: str) -> Page[Mail]:
        """Return one page by name, of those about one order or return if it is given."""
        about, arguments = (" AND regarding = $3", [regarding]) if regarding else ("", [])
        rows = await self._database.rows(
            f"SELECT * FROM mails WHERE name > $1{about} ORDER BY name LIMIT $2",  # noqa: S608
            page_token, page_limit(page_size) + 1, *arguments,
        )  # fmt: skip
        return Page.of([_mail(row) for row in rows], page_size, lambda mail: mail.name)

    async def take(self, now: datetime) -> tuple[Mail, Trace] | None:
        """Mark the queued mail that waits longest as being sent; return it with its trace, or None when none is due."""
        row = await self._database.row(
            "UPDATE mails SET state = $1 WHERE name = (SELECT name FROM mails WHERE state = 2 AND due_time <= $2"
            " ORDER BY due_time LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING *",
            Mail.STATE_SENDING, now,
        )  # fmt: skip
        return (_mail(row), Trace.parse(row["trace"]) or Trace.start()) if row else None

    async def settle(self, mail: Mail, state: Mail.State.ValueType, due_time: datetime) -> None:
        """Note what became of a mail, and when it is due if it is queued again."""
        await self._database.value(
            "UPDATE mails SET state = $2, due_time = $3 WHERE name = $1", mail.name, state, due_time
        )


def _mail(row: asyncpg.Record) -> Mail:
    fields = {name: row[name] for name in ("name", "state", "recipient", "subject", "body", "regarding", "event_type")}
    return Mail(**fields, create_time=timestamp(row["create_time"]))
