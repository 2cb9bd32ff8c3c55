"""The event bus as services see it; engines implement it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, with the attributes of CloudEvents 1.0 (https://cloudevents.io)."""

    id: str
    """Unique in its source: the aggregate's name and version, `orders/0193/2`."""
    source: str
    """The service it happened in."""
    type: str
    """The full name of its protobuf message, which is also its topic."""
    key: str
    """The aggregate's name; events of one key keep their order."""
    time: datetime
    """When it happened, in UTC."""
    trace: str
    """The W3C traceparent of the call that made it happen."""
    payload: bytes
    """The message, serialized."""


class Progress(NamedTuple):
    """How far a consumer group is."""

    pending: int = 0
    """How many events wait to be handled."""
    handled: int = 0
    """Grows when the one that waited longest was handled."""


class Delivery(Protocol):
    """An event handed to a consumer group, until it is acknowledged."""

    event: Event
    attempt: int
    """1 for the first time."""

    async def ack(self) -> None:
        """Do not deliver it to this group again."""
        ...

    async def retry(self, delay_s: float) -> None:
        """Deliver it again after so long."""
        ...


class Bus(Protocol):
    """Carries events at least once."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Store all events in this order; Unavailable when that is not certain."""
        ...

    def consume(self, group: str, types: Sequence[str]) -> AsyncGenerator[list[Delivery], None]:
        """Hand out events of these types as they come, a list at a time, each to one member of the group."""
        ...

    def follow(self, types: Sequence[str]) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Follow events of these types from now on; every follower gets all, none is kept for later.

        What happens while its connection is broken, or while it falls far behind, a follower does not hear of.
        """
        ...

    async def progress(self, group: str) -> Progress:
        """Return how far a group is; Unavailable."""
        ...

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the broker now."""
        ...

    @property
    def incarnation(self) -> int:
        """Grows whenever the connection was lost and made anew: what the broker was told last may be lost."""
        ...
