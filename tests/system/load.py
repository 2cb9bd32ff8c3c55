"""A steady load of idempotent reads through the gateway, as a client without retries of its own sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from mercato.orders.v1.orders_pb2 import ListOrdersRequest
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub

TIMEOUT_S = 10.0
MOST_UNDER_WAY = 500


@dataclass
class Load:
    """What became of the calls so far."""

    count: int = 0
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def load(address: str, calls_per_s: float) -> AsyncIterator[Load]:
    """Send so many calls a second, whether or not those before are answered; at the end all are."""
    result = Load()
    under_way: set[asyncio.Task[None]] = set()
    async with grpc.aio.insecure_channel(address, options=[("grpc.enable_retries", 0)]) as channel:
        stub = OrderServiceStub(channel)

        async def call() -> None:
            try:
                await stub.ListOrders(ListOrdersRequest(page_size=1), timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                result.failures.append(f"{error.code().name}: {error.details()}")
            result.count += 1

        async def send() -> None:
            clock = asyncio.get_running_loop()
            due = clock.time()
            while True:
                assert len(under_way) < MOST_UNDER_WAY, "the answers do not keep up"
                task = asyncio.create_task(call())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                due += 1 / calls_per_s
                await asyncio.sleep(max(due - clock.time(), 0))

        sending = asyncio.create_task(send())
        try:
            yield result
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            await asyncio.gather(*under_way)
            if not sending.cancelled():
                sending.result()
