"""How many calls an instance serves at once, and how it ends those that have no end of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakSet

from prometheus_client import Gauge

from chassis.errors import ResourceExhausted, Unavailable

_gauge = Gauge("mercato_server_calls_in_flight", "Calls being served.", ("kind",))
_limits: WeakSet[Limit] = WeakSet()


class Overloaded(ResourceExhausted):
    """This instance serves {limit} calls already; try again."""


class Ending(Unavailable):
    """This instance ends; ask another."""


class Limit:
    """How many calls of a kind an instance serves at once."""

    def __init__(self, most: int, kind: str = "calls") -> None:
        self.kind = kind
        self._most = most
        self.in_flight = 0
        self._open: set[asyncio.Timeout] = set()
        self._ended = False
        _limits.add(self)
        _gauge.labels(kind).set_function(lambda: sum(limit.in_flight for limit in _limits if limit.kind == kind))

    def __enter__(self) -> None:
        if self.in_flight >= self._most:
            raise Overloaded(limit=self._most)
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1

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
