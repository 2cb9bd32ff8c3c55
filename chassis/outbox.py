"""The outbox relay: what committed is published, in order, at least once.

The outbox is the unpublished tail of `events`. Whichever instance commits wakes its own relay, which waits for its
turn at one advisory lock: whatever committed before its turn, by any instance, goes out then. So there is no leader to
elect, no order lost, and polling is only for what a crash left behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from functools import lru_cache
from itertools import chain

import asyncpg
from google.protobuf.message import Message

from chassis.bus import Bus, Event
from chassis.call import current_call
from chassis.clock import Clock
from chassis.database import Batch, Database
from chassis.errors import InvalidArgument, Unavailable
from chassis.telemetry.messaging import sending
from chassis.telemetry.spans import SUBJECT, note
from chassis.telemetry.trace import Trace

LOCK = 7_002
BATCH = 500
POLL_S = 1.0
PACE_S = 0.1
"""Passes begin at least so long after each other, so that under load many commits share one."""
RETRY_S = 0.5
UNSAFE = timedelta(minutes=5)
"""How long the broker may hold what it acknowledged before it is safely on disk; NATS flushes every two minutes."""

LARGEST_BYTES = 900 * 1024
"""No event may be larger: brokers take messages of 1 MiB, and one they refuse would hold up all behind it."""

_TAKE_TURN = (
    "SELECT turn.mine, unpublished.* FROM (SELECT pg_try_advisory_lock($1) AS mine) AS turn LEFT JOIN LATERAL"
    " (SELECT position, subject, version, type, payload, create_time, trace FROM events"
    " WHERE publish_time IS NULL AND turn.mine ORDER BY position LIMIT $2) AS unpublished ON true"
)
_END_TURN = (
    "WITH published AS (UPDATE events SET publish_time = $2"
    " WHERE publish_time IS NULL AND position = ANY($1::text[]::bigint[]) RETURNING 1)"
    " SELECT pg_advisory_unlock($3) FROM (SELECT count(*) FROM published) AS done"
)

_log = logging.getLogger(__name__)


@lru_cache(maxsize=64)
def _insert(count: int) -> str:
    """Return what inserts so many events in their order; of several statements in one batch the last would be first."""
    rows = ", ".join(f"({', '.join(f'${6 * row + column}' for column in range(1, 7))})" for row in range(count))
    return f"INSERT INTO events (subject, version, type, payload, create_time, trace) VALUES {rows}"  # noqa: S608


class EventTooLarge(InvalidArgument):
    """What is asked would change {subject} by more than one event can tell; ask for less at once."""


class Outbox:
    """The relay of one instance."""

    def __init__(self, database: Database, bus: Bus, clock: Clock, source: str) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self._source = source
        self._woken = asyncio.Event()
        self._incarnation = bus.incarnation

    def add(self, batch: Batch, subject: str, version: int, events: Sequence[Message]) -> None:
        """Add to what commits that these events happened to a subject, the first of them as its `version`."""
        payloads = [event.SerializeToString() for event in events]
        if max(map(len, payloads)) > LARGEST_BYTES:
            raise EventTooLarge(subject=subject)
        call = current_call()
        trace = (call.trace if call else Trace.start()).traceparent
        note(SUBJECT, subject)
        now = self._clock.now()
        rows = [
            (subject, number, event.DESCRIPTOR.full_name, payload, now, trace)
            for number, (event, payload) in enumerate(zip(events, payloads, strict=True), start=version)
        ]
        batch.add(_insert(len(rows)), *chain.from_iterable(rows))

    def wake(self) -> None:
        """Say that something committed."""
        self._woken.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            self._woken.clear()
            started_s = self._clock.monotonic()
            try:
                await self._republish_after_reconnect()
                while await self.publish_once() == BATCH:
                    pass
            except Unavailable as error:
                _log.warning("outbox waits", extra={"error": str(error)})
                await self._clock.sleep(RETRY_S)
                self._woken.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await self._woken.wait()
                await self._clock.sleep(max(0.0, started_s + PACE_S - self._clock.monotonic()))

    async def publish_once(self) -> int:
        """Publish at most one batch of what is unpublished; return how many."""
        async with self._database.connection() as connection:
            try:
                rows = await connection.fetch(_TAKE_TURN, LOCK, BATCH)
                if not rows[0]["mine"]:
                    await connection.execute("SELECT pg_advisory_lock($1)", LOCK)
                    rows = await connection.fetch(_TAKE_TURN, LOCK, BATCH)
                    await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)  # it was taken twice
                events = [self._event(row) for row in rows if row["position"] is not None]
                if events:
                    with sending(events) as sent:
                        await self._bus.publish(sent)
                await connection.execute(
                    _END_TURN, [str(row["position"]) for row in rows] if events else [], self._clock.now(), LOCK
                )
            except BaseException:
                connection.terminate()  # and with it its turn
                raise
        return len(events)

    def _event(self, row: asyncpg.Record) -> Event:
        return Event(
            id=f"{row['subject']}/{row['version']}",
            source=self._source,
            type=row["type"],
            key=row["subject"],
            time=row["create_time"],
            trace=row["trace"],
            payload=row["payload"],
        )

    async def _republish_after_reconnect(self) -> None:
        """A broker that died may have lost what it had not flushed: send that again, consumers know what they had."""
        incarnation = self._bus.incarnation
        if incarnation != self._incarnation:
            await self._database.value(
                "UPDATE events SET publish_time = NULL WHERE publish_time > $1", self._clock.now() - UNSAFE
            )
            self._incarnation = incarnation
