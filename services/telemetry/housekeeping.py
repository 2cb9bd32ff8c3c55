"""What is done again and again: old things are deleted, and what is left is counted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from chassis.clock import Clock
from services.telemetry.history import History
from services.telemetry.logbook import Logbook
from services.telemetry.objectives import Objectives
from services.telemetry.options import Options
from services.telemetry.traces import Traces

DECIDE_EVERY_S, WRITE_EVERY_S, EXPIRE_EVERY_S = 1.0, 5.0, 60.0


async def every(period_s: float, work: Callable[[], Awaitable[None]], clock: Clock) -> None:
    """Do some work again and again until cancelled."""
    while True:
        await clock.sleep(period_s)
        await work()


class Housekeeping:
    """Keeps the tables within what is asked for."""

    def __init__(
        self,
        traces: Traces,
        logbook: Logbook,
        history: History,
        objectives: Objectives,
        options: Options,
        clock: Clock,
    ) -> None:
        self._stores = ((traces, options.max_spans), (logbook, options.max_logs), (history, options.max_points))
        self._objectives = objectives
        self._retention = options.retention
        self._clock = clock

    async def count(self) -> None:
        """Count what is stored."""
        for store, _ in self._stores:
            await store.count()

    async def expire(self) -> None:
        """Delete what is too old or too much."""
        before = self._clock.now() - self._retention
        for store, most in self._stores:
            await store.expire(before, most)
        await self._objectives.expire()
