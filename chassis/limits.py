"""How many calls an instance serves at once, and how it ends those that have no end of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakSet

from grpc.aio import AioRpcError

from chassis.errors import DeadlineExceeded, Internal, MercatoError, Unavailable, Unknown
from chassis.resilience.concurrency import AdaptiveLimit, Overloaded
from chassis.telemetry.metrics import counter, gauge

FAULTS = frozenset(error.code for error in (Unavailable, Internal, Unknown, DeadlineExceeded))
"""How calls end that failed by a fault of the instance or of what it needs."""

_in_flight = gauge("mercato.server.calls.in_flight", "Calls being served.", "mercato.kind")
_queued = gauge("mercato.server.calls.queued", "Calls that wait in gRPC to be served or refused.")
_least = gauge("mercato.server.concurrency.limit", "Calls that may be inside an instance at once, waiting ones too.")
_shed = counter("mercato.server.calls.shed", "Calls refused because there were too many.")
_limits: WeakSet[Limit | Calls] = WeakSet()
_calls: WeakSet[Calls] = WeakSet()
_queued.set_function(lambda: sum(calls.queued for calls in _calls))
_least.set_function(lambda: min((calls.limit for calls in _calls), default=0))  # of several in a process


class Ending(Unavailable):
    """This instance ends; ask another."""


class Calls(AdaptiveLimit):
    """How many calls that are answered once an instance serves at a time: as many as it can in good time."""

    def __init__(self, most: int) -> None:
        super().__init__(most)
        self.kind = "calls"
        _calls.add(self)
        _count(self)

    def serving(self, method: str) -> _Serving:
        """Count a call within the block; Overloaded."""
        return _Serving(self, method)


class _Serving:
    __slots__ = ("_calls", "_method", "_taken")

    def __init__(self, calls: Calls, method: str) -> None:
        self._calls = calls
        self._method = method

    def __enter__(self) -> None:
        try:
            self._taken = self._calls.acquire()
        except Overloaded:
            _shed.inc()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._calls.release(self._method, self._taken, _failed(error) if error else False)


class Limit:
    """How many calls or streams of a kind an instance serves at once: so many."""

    def __init__(self, most: int, kind: str = "calls") -> None:
        self.kind = kind
        self.in_flight = 0
        self._most = most
        self._open: set[asyncio.Timeout] = set()
        self._ended = False
        _count(self)

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


def _count(limit: Limit | Calls) -> None:
    kind = limit.kind
    _limits.add(limit)
    _in_flight.labels(kind).set_function(lambda: sum(each.in_flight for each in _limits if each.kind == kind))


def _failed(error: BaseException) -> bool | None:
    if isinstance(error, MercatoError):
        return error.code in FAULTS
    if isinstance(error, AioRpcError):  # passed on from another
        return error.code().value[0] in FAULTS
    return True if isinstance(error, Exception) else None
