"""The seams to time, waiting and new ids, so that a test or a simulation can drive them."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.errors import invalid_field


class Clock(Protocol):
    """Where a service gets the time from, and where it waits."""

    def now(self) -> datetime:
        """Return the time in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back; only differences mean something."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Wait so many seconds."""
        ...

    def new_id(self) -> str:
        """Return an id that nobody else has; it sorts after those of earlier milliseconds (UUID version 7)."""
        ...


class SystemClock:
    """The real time, real waiting, and ids made of both time and chance."""

    def now(self) -> datetime:
        """Return the system's time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the event loop's time."""
        return asyncio.get_running_loop().time()

    async def sleep(self, delay_s: float) -> None:
        """Wait on the event loop."""
        await asyncio.sleep(delay_s)

    def new_id(self) -> str:
        """Return a UUID version 7 (RFC 9562)."""
        milliseconds = int(self.now().timestamp() * 1000)
        value = milliseconds << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)
        return str(UUID(int=value))


def derived_id(*parts: str) -> str:
    """Return the id that always belongs to these parts: the request_id of a saga's step for instance."""
    return str(uuid5(_NAMESPACE, "\x1f".join(parts)))


def timestamp(time: datetime) -> Timestamp:
    """Return a time in UTC as protobuf has it."""
    result = Timestamp()
    result.FromDatetime(time)
    return result


def utc(time: Timestamp, field: str) -> datetime:
    """Return a time from outside in UTC; InvalidArgument names `field` when there is no such time."""
    try:
        return time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise invalid_field(field, "expected a time from year 1 to 9999, nanos from 0 to 999999999") from None


_NAMESPACE = UUID("6ba7b812-9dad-11d1-80b4-00c04fd430c8")
