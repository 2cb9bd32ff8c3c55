"""An instance under too much load: it refuses early, says when to come again, and serves the others in good time."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import perf_counter, thread_time
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from prometheus_client import REGISTRY

from chassis.channels import Channel
from chassis.errors import ResourceExhausted
from chassis.status import DETAILS, PUSHBACK
from tests.chassis.probe import CATALOG, alone
from tests.stage import eventually

GET = pb.GetProductRequest(name="products/1")
WORK_S = 0.005


def stub_of(channel: Any) -> Any:
    return CatalogServiceStub(channel)


async def test_a_refused_call_is_told_when_to_come_again() -> None:
    go, entered = asyncio.Event(), asyncio.Event()

    async def hold(request: Any, context: Any) -> Message:
        entered.set()
        await go.wait()
        return pb.GetProductResponse()

    async with alone(max_concurrent_calls=1) as (probe, _, channel):
        probe.on("GetProduct", hold)
        plain, typed = stub_of(channel), stub_of(Channel(channel, [CATALOG], "tests"))
        held = asyncio.ensure_future(plain.GetProduct(GET))
        await entered.wait()
        with pytest.raises(ResourceExhausted) as told:
            await typed.GetProduct(GET)
        with pytest.raises(grpc.aio.AioRpcError) as raw:
            await plain.GetProduct(GET)
        go.set()
        await held
    trailers = dict(raw.value.trailing_metadata() or ())
    assert raw.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    details = Status.FromString(trailers[DETAILS]).details
    (retry_info,) = (RetryInfo.FromString(each.value) for each in details if each.Is(RetryInfo.DESCRIPTOR))
    assert retry_info.retry_delay.ToMilliseconds() == int(trailers[PUSHBACK]) > 0
    assert told.value.retry_after_s is not None
    assert 0.5 <= told.value.retry_after_s <= 1.0  # nothing was served yet: it cannot know better


async def test_an_instance_at_twice_its_peak_serves_in_good_time_and_sheds_the_rest() -> None:
    async def work(request: Any, context: Any) -> Message:
        until = thread_time() + WORK_S
        while thread_time() < until:
            pass
        return pb.GetProductResponse()

    took_s: list[float] = []
    codes: Counter[str] = Counter()

    async def call(stub: Any) -> None:
        started = perf_counter()
        try:
            await stub.GetProduct(GET, timeout=5)
            codes["OK"] += 1
            took_s.append(perf_counter() - started)
        except grpc.aio.AioRpcError as error:
            codes[error.code().name] += 1

    async with alone() as (probe, server, channel):
        probe.on("GetProduct", work)
        stub, limit = stub_of(channel), server.calls
        shed_before = REGISTRY.get_sample_value("mercato_server_calls_shed_total") or 0
        began = perf_counter()
        async with asyncio.TaskGroup() as calls:
            for number in range(1000):
                calls.create_task(call(stub))
                await asyncio.sleep(max(0.0, began + number * WORK_S / 2 - perf_counter()))
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
        assert limit.shed == codes["RESOURCE_EXHAUSTED"] > 100
        assert REGISTRY.get_sample_value("mercato_server_calls_shed_total") == shed_before + limit.shed
        assert limit.served == codes["OK"] > 100
        assert max(took_s) < 2  # unlimited, the last of them wait for more than 2.5 s

        async def grown() -> bool:
            await stub.GetProduct(GET, timeout=5)
            return limit.limit == 1000

        await eventually(grown)
