"""Consumers: each event has its effect once, in the transaction that notes its id; what cannot be handled is kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from time import perf_counter

import asyncpg
from google.protobuf.message import DecodeError, Message

from chassis.bus import Bus, Delivery, Event, Progress
from chassis.call import serving
from chassis.clock import Clock
from chassis.database import Batch, Database
from chassis.errors import Unavailable
from chassis.telemetry.messaging import Processing
from chassis.telemetry.sql import committed

Handler = Callable[[Batch, Message, Event], None]
"""Adds to the batch what an event changes here. It is called again when the commit fails, and may refuse by raising."""

ATTEMPTS = 5
RETRY_S = (0.2, 1.0, 5.0, 15.0)
LONGEST_ERROR = 500
RETENTION = timedelta(days=30)

_log = logging.getLogger(__name__)


class Consumer:
    """The events one service listens to."""

    def __init__(
        self, database: Database, bus: Bus, clock: Clock, group: str, handlers: Mapping[type[Message], Handler]
    ) -> None:
        self._database = database
        self._bus = bus
        self._clock = clock
        self.group = group
        self._handlers = {message.DESCRIPTOR.full_name: (message, handler) for message, handler in handlers.items()}

    async def run(self) -> None:
        """Consume until cancelled."""
        async for deliveries in self._bus.consume(self.group, list(self._handlers)):
            try:
                await self.handle(deliveries)
            except Unavailable as error:
                _log.warning("consumer waits", extra={"error": str(error)})
                await _retry(deliveries, RETRY_S[1])
                await self._clock.sleep(RETRY_S[0])
            except asyncio.CancelledError:
                await _retry(deliveries, 0)  # another instance need not wait until they are given up
                raise

    async def handle(self, deliveries: Sequence[Delivery]) -> None:
        """Handle events in one transaction together; if that fails, each in its own."""
        known = await self._known([delivery.event.id for delivery in deliveries])
        fresh = {delivery.event.id: delivery for delivery in deliveries if delivery.event.id not in known}
        await _ack([each for each in deliveries if fresh.get(each.event.id) is not each])
        try:
            works = [Processing(each.event, self.group) for each in fresh.values()]
            effects = [self._effect(each.event, work) for each, work in zip(fresh.values(), works, strict=True)]
            began_s = perf_counter()
            await self._database.commit_all(effects)
            took_s = perf_counter() - began_s
        except Unavailable:
            raise
        except Exception:  # one of them is bad, and this way is found which
            for delivery in fresh.values():
                await self._handle_alone(delivery)
        else:
            await _ack(fresh.values())
            for work, effect in zip(works, effects, strict=True):
                with serving(work.call):
                    committed(self._database.name, effect.sql, took_s)
                work.done()

    async def replay(self, ids: Sequence[str]) -> tuple[int, int]:
        """Handle dead letters again, all when no ids are given; return how many were handled and how many failed."""
        rows = await self._database.rows(
            "SELECT * FROM dead_letters WHERE $1 OR id = ANY($2) ORDER BY create_time LIMIT 1000", not ids, list(ids)
        )
        known = await self._known([row["id"] for row in rows])
        handled = 0
        for row in rows:
            event = Event(
                row["id"], row["source"], row["type"], row["key"], row["event_time"], row["trace"], row["payload"]
            )
            work = Processing(event, self.group)
            try:
                batch = self._effect(event, work) if event.id not in known else Batch()
                batch.add("DELETE FROM dead_letters WHERE id = $1", event.id)
                with serving(work.call):
                    await self._database.commit(batch)
                work.done()
                handled += 1
            except Unavailable:
                raise
            except Exception as error:
                work.failed(error, "dead_letter")
                await self._bury(event, error, row["attempts"] + 1)
        return handled, len(rows) - handled

    async def progress(self) -> Progress:
        """Return how far it is; Unavailable."""
        return await self._bus.progress(self.group)

    async def prune(self) -> None:
        """Forget ids older than the retention; the bus keeps its events for less."""
        await self._database.value("DELETE FROM inbox WHERE create_time < $1", self._clock.now() - RETENTION)

    async def _handle_alone(self, delivery: Delivery) -> None:
        event = delivery.event
        work = Processing(event, self.group)
        try:
            effect = self._effect(event, work)
            with serving(work.call):
                await self._database.commit(effect)
        except Unavailable:
            raise
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name != "inbox_pkey":  # else it was handled meanwhile
                await self._refused(delivery, work, error)
                return
        except Exception as error:
            await self._refused(delivery, work, error)
            return
        await delivery.ack()
        work.done()

    async def _refused(self, delivery: Delivery, work: Processing, error: Exception) -> None:
        if delivery.attempt < ATTEMPTS:
            work.failed(error, "retry")
            await delivery.retry(RETRY_S[min(delivery.attempt, len(RETRY_S)) - 1])
            return
        work.failed(error, "dead_letter")
        await self._bury(delivery.event, error, delivery.attempt)
        await delivery.ack()

    def _effect(self, event: Event, work: Processing) -> Batch:
        batch = Batch()
        message_type, handler = self._handlers[event.type]
        with serving(work.call):
            try:
                message = message_type.FromString(event.payload)
            except DecodeError as error:
                raise ValueError(f"not a {event.type}") from error
            handler(batch, message, event)
        batch.add("INSERT INTO inbox VALUES ($1, $2)", event.id, self._clock.now())
        return batch

    async def _known(self, ids: list[str]) -> set[str]:
        return {row["id"] for row in await self._database.rows("SELECT id FROM inbox WHERE id = ANY($1)", ids)}

    async def _bury(self, event: Event, error: Exception, attempts: int) -> None:
        _log.error("dead letter", extra={"event": event.id, "type": event.type, "error": repr(error)})
        batch = Batch()
        batch.add(
            "INSERT INTO dead_letters VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
            " ON CONFLICT (id) DO UPDATE SET error = EXCLUDED.error, attempts = EXCLUDED.attempts",
            event.id, event.source, event.type, event.key, event.payload, event.trace, event.time,
            repr(error)[:LONGEST_ERROR], attempts, self._clock.now(),
        )  # fmt: skip
        await self._database.commit(batch)


async def _ack(deliveries: Iterable[Delivery]) -> None:
    for delivery in deliveries:
        await delivery.ack()


async def _retry(deliveries: Iterable[Delivery], delay_s: float) -> None:
    for delivery in deliveries:
        await delivery.retry(delay_s)
