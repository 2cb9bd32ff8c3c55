"""What the watch of one instance of orders needs of the events of all: which order changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from mercato.orders.v1 import orders_pb2 as pb

from chassis.bus import Event
from chassis.clock import SystemClock
from chassis.testing.consumer import Pacts, State
from services.orders.watch import RECHECK_S, OrderWatch


class Orders:
    """The state of an order, before and after a change."""

    def __init__(self) -> None:
        self.state = pb.Order.STATE_PLACED
        self.seen_twice = asyncio.Event()
        self._times = 0

    async def get(self, name: str) -> pb.Order:
        self._times += 1
        if self._times == 2:
            self.seen_twice.set()
        return pb.Order(name=name, state=self.state)


class Bus:
    """A bus with one event."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.types: Sequence[str] = ()

    @asynccontextmanager
    async def follow(self, types: Sequence[str]) -> AsyncIterator[AsyncIterator[Event]]:
        self.types = types

        async def events() -> AsyncIterator[Event]:
            while True:
                yield await self.events.get()

        yield events()


@pytest.mark.parametrize(
    ("description", "event", "given"),
    [
        ("tell which order is confirmed", pb.OrderConfirmed(), State("confirmed order", id="o1")),
        ("tell which order is refused", pb.OrderRefused(), State("refused order", id="o1")),
        ("tell which order is to be cancelled", pb.OrderCancellationRequested(), State("cancelled order", id="o1")),
        ("tell which order is cancelled", pb.OrderCancelled(), State("cancelled order", id="o1")),
    ],
    ids=lambda it: it.replace(" ", "-") if isinstance(it, str) else "",
)
async def test_change(pacts: Pacts, description: str, event: Message, given: State) -> None:
    contract = pacts.events("orders", "orders")
    orders: Any = Orders()
    bus: Any = Bus()
    watch = OrderWatch(orders, bus)
    running = asyncio.create_task(watch.run())
    try:
        with contract.delivering(description, event, key="orders/o1", given=[given]) as it:
            changes = watch.follow("orders/o1")
            assert (await anext(changes)).state == pb.Order.STATE_PLACED
            change = asyncio.ensure_future(anext(changes))
            await orders.seen_twice.wait()  # now it waits for an event
            orders.state = pb.Order.STATE_CONFIRMED
            await bus.events.put(told(it, "orders/o1"))
            async with asyncio.timeout(RECHECK_S / 2):
                assert (await change).state == pb.Order.STATE_CONFIRMED
            assert it.DESCRIPTOR.full_name in bus.types
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def told(message: Message, key: str) -> Event:
    return Event(f"{key}/2", "orders", message.DESCRIPTOR.full_name, key, SystemClock().now(), "", b"")
