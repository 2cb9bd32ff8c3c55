"""The bulkhead: how much of an instance one callee may take up, so that one which hangs cannot sink all."""

from __future__ import annotations

from chassis.errors import ResourceExhausted


class BulkheadFull(ResourceExhausted):
    """{limit} calls to {callee} are under way already; this one was not made."""

    # Not UNAVAILABLE: those who called us would try again at once, and wait for the same callee.


class Bulkhead:
    """So many calls to one callee may be under way at once. A call is one within its block; BulkheadFull."""

    def __init__(self, callee: str, most: int) -> None:
        self.callee = callee
        self.in_flight = 0
        self._most = most

    def __enter__(self) -> None:
        if self.in_flight >= self._most:
            raise BulkheadFull(limit=self._most, callee=self.callee)
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1
