"""Tells watchers when an order changes, whichever instance changed it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress

from mercato.orders.v1.orders_pb2 import (
    Order,
    OrderCancellationRequested,
    OrderCancelled,
    OrderConfirmed,
    OrderRefused,
)

from chassis.bus import Bus
from chassis.repository import Repository
from services.orders.domain import FINAL

CHANGES = (OrderConfirmed, OrderRefused, OrderCancellationRequested, OrderCancelled)
RECHECK_S = 1.0
"""A watcher looks by itself so often, as the bus may drop what nobody stores."""


class OrderWatch:
    """The watchers of one instance."""

    def __init__(self, orders: Repository[Order], bus: Bus) -> None:
        self._orders = orders
        self._bus = bus
        self._watchers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    async def run(self) -> None:
        """Follow the events of all orders until cancelled."""
        async with self._bus.follow([change.DESCRIPTOR.full_name for change in CHANGES]) as events:
            async for event in events:
                for changed in self._watchers.get(event.key, ()):
                    changed.set()

    async def follow(self, name: str) -> AsyncIterator[Order]:
        """Yield an order as it stands, then after each change of its state, until that is final; NotFound."""
        changed, state = asyncio.Event(), None
        self._watchers[name].add(changed)
        try:
            while state not in FINAL:
                changed.clear()
                order = await self._orders.get(name)
                if order.state != state:
                    state = order.state
                    yield order
                else:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(RECHECK_S):
                            await changed.wait()
        finally:
            self._watchers[name].discard(changed)
            if not self._watchers[name]:
                del self._watchers[name]
