"""What waits at a service: events for the bus, events for their handlers, dead letters and sagas."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from chassis.clock import Clock
from chassis.consumer import Consumer
from chassis.database import Database
from chassis.errors import Unavailable
from chassis.sagas import Sagas
from chassis.telemetry.messaging import caught_up
from chassis.telemetry.metrics import Measured, gauge, measure

EVERY_S = 2.0
MOST_SAGAS = 1000

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

    async def run(self) -> None:
        """Look now and then until cancelled; so long it counts."""
        _looking.add(self)
        try:
            while True:
                try:
                    await self._look()
                except Unavailable as error:
                    _log.debug("cannot look at what waits", extra={"error": str(error)})
                await self._clock.sleep(EVERY_S)
        finally:
            _looking.discard(self)

    async def _look(self) -> None:
        row = await self._database.row(
            "SELECT count(*) AS unpublished, min(create_time) AS oldest,"
            " (SELECT count(*) FROM dead_letters) AS dead FROM events WHERE publish_time IS NULL"
        )
        assert row is not None
        self.unpublished, self.dead_letters = row["unpublished"], row["dead"]
        self.outbox_lag_s = max((self._clock.now() - row["oldest"]).total_seconds(), 0) if row["oldest"] else 0.0
        if self._consumer:
            pending = await self._consumer.pending()
            _pending.labels(self._consumer.group).set(pending)
            if not pending:
                caught_up(self._consumer.group)
        if self._sagas:
            live = Counter((saga.kind, saga.status) for saga in await self._sagas.live(MOST_SAGAS))
            for kind in self._sagas.kinds:
                for status in ("running", "unwinding", "stuck"):
                    _live.labels(kind, status).set(live[kind, status])


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
