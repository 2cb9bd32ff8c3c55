"""How long the event loop keeps what is due waiting: all calls of a process wait as long."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from chassis.tasks import cancel
from chassis.telemetry.metrics import gauge

EVERY_S = 0.25
KEPT = 20

_delay = gauge("mercato.loop.delay", "The longest that the event loop was late of late.", unit="s")


@asynccontextmanager
async def watching_loop() -> AsyncIterator[None]:
    """Measure it within the block."""
    watching = asyncio.create_task(_watch())
    try:
        yield
    finally:
        await cancel([watching])


async def _watch() -> None:
    delays_s: deque[float] = deque(maxlen=KEPT)
    while True:
        due_s = perf_counter() + EVERY_S
        await asyncio.sleep(EVERY_S)
        delays_s.append(max(perf_counter() - due_s, 0.0))
        _delay.set(max(delays_s))
