"""How many calls an instance serves at once, and how it ends those that have no end of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from prometheus_client import Gauge

from chassis.errors import ResourceExhausted, Unavailable

_in_flight = Gauge("mercato_server_calls_in_flight", "Calls being served.", ("kind",))


class Overloaded(ResourceExhausted):
    """This instance serves {limit} calls already; try again."""


class Ending(Unavailable):
    """This instance ends; ask another."""


class Limit:
    """How many calls of a kind an instance serves at once."""

    def __init__(self, most: int, kind: str = "calls") -> None:
        self._most = most
        self._in_flight = 0
        self._open: set[asyncio.Timeout] = set()
        self._ended = False
        self._of_process = _in_flight.labels(kind)

    def __enter__(self) -> None:
        if self._in_flight >= self._most:
            raise Overloaded(limit=self._most)
        self._in_flight += 1
        self._of_process.inc()

    def __exit__(self, *_: object) -> None:
        self._in_flight -= 1
        self._of_process.dec()

    @asynccontextmanager
    async def until(self, deadline: float | None) -> AsyncIterator[None]:
        """Serve a stream until its deadline, TimeoutError, or until the instance ends; Overloaded, Ending."""
        if self._ended:
            raise Ending
        try:
            with self:
                async with asyncio.timeout_at(deadline) as timeout:
                    self._open.add(timeout)
                    try:
                        yield
                    finally:
                        self._open.discard(timeout)
        except TimeoutError:
            if self._ended:
                raise Ending from None
            raise

    def end(self) -> None:
        """End all streams, and begin no more."""
        self._ended = True
        for timeout in self._open:
            if not timeout.expired():
                timeout.reschedule(0)  # long past
