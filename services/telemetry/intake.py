"""What waits to be written: bounded, so that a slow database costs signals and never memory; and what became of all."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Generic, TypeVar

import asyncpg

from chassis.clock import Clock
from chassis.telemetry.metrics import counter

MOST_ROWS = 20_000
MOST_BYTES = 32 * 1024**2
BATCH = 2000
"""Rows that commit together."""
GATHER_S = 0.2
"""How long it waits for more before it writes."""

_log = logging.getLogger(__name__)
_accepted = counter("mercato.intake.accepted", "Signals that were stored.", "mercato.signal")
_dropped = counter(
    "mercato.intake.dropped", "Signals that were not, or are no more.", "mercato.signal", "mercato.reason"
)


Row = TypeVar("Row")


class Signal:
    """What became of signals of one kind since the start."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.accepted = 0
        self.dropped: Counter[str] = Counter()
        self.stored = 0
        """How many are there now."""

    def drop(self, reason: str, count: int) -> None:
        """Count what is dropped before it is stored."""
        if count:
            self.dropped[reason] += count
            _dropped.labels(self.name, reason).inc(count)

    def store(self, count: int) -> None:
        """Count what is stored."""
        self.accepted += count
        self.stored += count
        _accepted.labels(self.name).inc(count)

    def forget(self, reason: str, count: int) -> None:
        """Count what was stored and is no more."""
        self.stored -= count
        self.drop(reason, count)


class Queue(Generic[Row]):
    """Rows that wait to be written, in memory. Where it is full, what comes is dropped and counted."""

    def __init__(self, signal: Signal, size: Callable[[Row], int], most_rows: int = MOST_ROWS) -> None:
        self.signal = signal
        self._size = size  # of a row, in bytes
        self._most_rows = most_rows
        self._rows: deque[Row] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()

    def put(self, rows: Sequence[Row]) -> int:
        """Take rows, at once; return for how many there was no room."""
        room = self._most_rows - len(self._rows) if self._bytes < MOST_BYTES else 0
        taken = rows[:room]
        self._rows.extend(taken)
        self._bytes += sum(map(self._size, taken))
        self._filled.set()
        dropped = len(rows) - len(taken)
        self.signal.drop("full", dropped)
        return dropped

    def __len__(self) -> int:
        return len(self._rows)

    async def filled(self) -> None:
        """Wait until something is in it."""
        self._filled.clear()
        if not self._rows:
            await self._filled.wait()

    def first(self, most: int) -> list[Row]:
        """Return what waits longest; it stays."""
        return list(islice(self._rows, most))

    def remove(self, count: int) -> None:
        """Take out what waits longest."""
        for _ in range(count):
            self._bytes -= self._size(self._rows.popleft())


class Writer(Generic[Row]):
    """Writes what is queued, many at once. What could not be written because the database is away stays queued.

    `write` stores rows and returns how many; what it does not take it counts itself.
    """

    def __init__(self, queue: Queue[Row], write: Callable[[list[Row]], Awaitable[int]], clock: Clock) -> None:
        self._queue = queue
        self._write = write
        self._clock = clock

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._queue.filled()
            await self._clock.sleep(GATHER_S)
            await self.write()

    async def finish(self) -> None:
        """Write what is left, and count what cannot be."""
        try:
            await self.write()
        finally:
            self._queue.signal.drop("ended", len(self._queue))

    async def write(self) -> None:
        """Write all that is queued; DatabaseUnavailable."""
        signal, most = self._queue.signal, BATCH
        while rows := self._queue.first(most):
            try:
                signal.store(await self._write(rows))
            except asyncpg.PostgresError:  # again and again: one of them would keep all others from being written
                if len(rows) > 1:
                    most = len(rows) // 2
                    continue
                _log.exception("could not be stored", extra={"signal": signal.name})
                signal.drop("invalid", 1)
            self._queue.remove(len(rows))
            most = min(most * 2, BATCH)
