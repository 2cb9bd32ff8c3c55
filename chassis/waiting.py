"""What waits at a service: events for the bus, events for their handlers, dead letters and sagas."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from chassis.bus import Progress
from chassis.clock import Clock
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.errors import Unavailable
from chassis.sagas import Sagas
from chassis.tasks import Work
from chassis.telemetry.messaging import caught_up, stands_still
from chassis.telemetry.metrics import Measured, gauge, measure

EVERY_S = 2.0

_log = logging.getLogger(__name__)
_live = gauge("mercato.saga.live", "Sagas that are not done.", "mercato.saga.kind", "mercato.saga.status")
_pending = gauge("mercato.consumer.pending", "Events that wait to be handled.", "messaging.consumer.group.name")


class Waiting:
    """What waits at one service, as one of its instances sees it."""

    def __init__(self, database: Database, clock: Clock, consumer: Consumer | None, sagas: Sagas | None) -> None:
        self._database = database
        self._clock = clock
        self._consumer = consumer
        self._sagas = sagas
        self.unpublished = 0
        self.outbox_lag_s = 0.0
        self.dead_letters = 0
        self._progress, self._looked_s, self._stands = Progress(), 0.0, False

    async def run(self) -> None:
        """Look now and then until cancelled; so long it counts."""
        _looking.add(self)
        try:
            while True:
                await asyncio.gather(
                    _trying(self._look_at_database), _trying(self._look_at_bus), _trying(self._look_at_sagas)
                )
                await self._clock.sleep(EVERY_S)
        finally:
            _looking.discard(self)

    async def _look_at_database(self) -> None:
        row = await self._database.row(
            "SELECT count(*) AS unpublished, min(create_time) AS oldest,"
            " (SELECT count(*) FROM dead_letters) AS dead FROM events WHERE publish_time IS NULL"
        )
        assert row is not None
        self.unpublished, self.dead_letters = row["unpublished"], row["dead"]
        self.outbox_lag_s = max((self._clock.now() - row["oldest"]).total_seconds(), 0) if row["oldest"] else 0.0

    async def _look_at_bus(self) -> None:
        if self._consumer:
            group, before, looked_s = self._consumer.group, self._progress, self._looked_s
            self._progress = now = await self._consumer.progress()
            self._looked_s = self._clock.monotonic()
            _pending.labels(group).set(now.pending)
            stood, self._stands = self._stands, bool(before.pending and before.handled == now.handled)
            if not now.pending or (stood and not self._stands):  # else who handles none here would be late for ever
                caught_up(group)
            elif self._stands:
                stands_still(group, self._looked_s - looked_s)

    async def _look_at_sagas(self) -> None:
        if self._sagas:
            live = await self._sagas.count()
            for kind in self._sagas.kinds:
                for status in ("running", "unwinding", "stuck"):
                    _live.labels(kind, status).set(live[kind, status])


async def _trying(look: Work) -> None:
    """Look at one thing, which keeps nobody from looking at the others."""
    try:
        await look()
    except Unavailable as error:
        _log.debug("cannot look at what waits", extra={"error": str(error)})


_looking: set[Waiting] = set()


def _over_all(
    combine: Callable[[Iterable[float]], float], of: Callable[[Waiting], float]
) -> Callable[[], Iterable[tuple[Sequence[str], float]]]:
    """Return what reads a value of all services in this process; where none has a database there is none."""
    return lambda: [((), combine([of(each) for each in found]))] if (found := list(_looking)) else []


measure(
    Measured(
        "mercato.outbox.unpublished", "Events that the bus is still to be told.", [],
        _over_all(sum, lambda each: each.unpublished),
    ),
    Measured(
        "mercato.outbox.lag", "How old the oldest of them is.", [], _over_all(max, lambda each: each.outbox_lag_s),
        unit="s",
    ),
    Measured(
        "mercato.dead_letters", "Events that could not be handled.", [],
        _over_all(sum, lambda each: each.dead_letters),
    ),
)  # fmt: skip
