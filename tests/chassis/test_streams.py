"""Streams through the chassis: both directions, errors in their midst, deadlines, cancellation."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import pytest
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.orders.v1 import orders_pb2
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub

from chassis.call import current_call
from chassis.clock import SystemClock
from chassis.errors import DeadlineExceeded, FailedPrecondition, Internal, InvalidArgument, NotFound, ResourceExhausted
from chassis.server import Server
from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.trace import Trace
from tests.chassis.probe import CATALOG, ORDERS, Probe, serving
from tests.stage import Stage, eventually

WATCH = orders_pb2.WatchOrderRequest(name="orders/1")


@pytest.fixture(scope="module")
async def probes(stage: Stage) -> tuple[Probe, Probe]:
    catalog, orders = Probe(CATALOG), Probe(ORDERS)
    await stage.start("catalog", serving(catalog, orders), max_concurrent_calls=4)
    stage.targets["orders"] = stage.targets["catalog"]
    return catalog, orders


@pytest.fixture
def catalog(probes: tuple[Probe, Probe]) -> Probe:
    return probes[0]


@pytest.fixture
def orders(probes: tuple[Probe, Probe]) -> Probe:
    return probes[1]


@pytest.fixture
async def importing(stage: Stage, probes: Any) -> CatalogServiceStub:
    return stage.stub(CATALOG, CatalogServiceStub)


@pytest.fixture
def watching(stage: Stage, probes: Any) -> OrderServiceStub:
    return stage.stub(ORDERS, OrderServiceStub)


def product(number: int, title: str = "Mug") -> pb.ImportProductsRequest:
    return pb.ImportProductsRequest(product=pb.Product(name=f"products/{number}", title=title))


async def stream_of(*requests: pb.ImportProductsRequest) -> AsyncIterator[pb.ImportProductsRequest]:
    for request in requests:
        yield request


def state(etag: str) -> orders_pb2.WatchOrderResponse:
    return orders_pb2.WatchOrderResponse(order=orders_pb2.Order(etag=etag))


async def collect(responses: AsyncIterable[Any], into: list[Any]) -> None:
    async for response in responses:
        into.append(response)


class Hanging:
    """Behavior of a server stream: one answer, then nothing; notes its end."""

    def __init__(self, size: int = 1) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self._size = size

    async def __call__(self, request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        self.began.set()
        try:
            yield state("x" * self._size)
            while True:
                await asyncio.sleep(60 if self._size == 1 else 0)
                yield state("x" * self._size)
        finally:
            self.ended.set()


async def test_a_stream_of_requests_is_checked_one_by_one(catalog: Probe, importing: CatalogServiceStub) -> None:
    async def count(requests: AsyncIterator[pb.ImportProductsRequest], context: Any) -> pb.ImportProductsResponse:
        return pb.ImportProductsResponse(created_count=len([request async for request in requests]))

    catalog.on("ImportProducts", count)
    assert (await importing.ImportProducts(stream_of(*map(product, range(100))))).created_count == 100
    assert (await importing.ImportProducts(stream_of())).created_count == 0
    with pytest.raises(InvalidArgument) as error:
        await importing.ImportProducts(stream_of(product(1), product(2, title=""), product(3)))
    assert list(error.value.fields) == ["product.title"]


async def test_a_stream_of_requests_can_be_refused_before_its_end(
    catalog: Probe, importing: CatalogServiceStub
) -> None:
    async def refuse_second(requests: AsyncIterator[Any], context: Any) -> pb.ImportProductsResponse:
        await anext(requests)
        await anext(requests)
        raise FailedPrecondition("enough")

    async def endless() -> AsyncIterator[pb.ImportProductsRequest]:
        number = 0
        while True:
            yield product(number)
            number += 1

    catalog.on("ImportProducts", refuse_second)
    with pytest.raises(FailedPrecondition, match="enough"):
        await importing.ImportProducts(endless())


async def test_what_goes_wrong_with_ones_own_requests_is_told_as_it_is(
    catalog: Probe, importing: CatalogServiceStub
) -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def wait(requests: AsyncIterator[Any], context: Any) -> pb.ImportProductsResponse:
        began.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        raise AssertionError

    async def broken() -> AsyncIterator[pb.ImportProductsRequest]:
        yield product(1)
        await began.wait()
        raise ValueError("line 2")

    catalog.on("ImportProducts", wait)
    with pytest.raises(ValueError, match="line 2"):
        await importing.ImportProducts(broken())
    await asyncio.wait_for(ended.wait(), 1)


async def test_answers_stream_in_order_and_see_their_call(orders: Probe, watching: OrderServiceStub) -> None:
    async def count(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        for number in range(50):
            call = current_call()
            assert call is not None
            yield state(f"{call.caller} {number}")

    orders.on("WatchOrder", count)
    etags = [response.order.etag async for response in watching.WatchOrder(WATCH)]
    assert etags == [f"tests {number}" for number in range(50)]


@pytest.mark.parametrize("after", [0, 3])
async def test_an_error_in_the_midst_arrives_after_what_came_before(
    orders: Probe, watching: OrderServiceStub, after: int
) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        for number in range(after):
            yield state(str(number))
        raise NotFound(name="orders/1")

    orders.on("WatchOrder", fail)
    seen: list[Any] = []
    with pytest.raises(NotFound) as error:
        await collect(watching.WatchOrder(WATCH), seen)
    assert (len(seen), error.value.data) == (after, {"name": "orders/1"})


async def test_a_defect_in_the_midst_is_internal(orders: Probe, watching: OrderServiceStub) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[Any]:
        yield state("1")
        yield None

    orders.on("WatchOrder", fail)
    with pytest.raises(Internal) as error:
        await collect(watching.WatchOrder(WATCH), [])
    assert error.value.message == "Internal error."


async def test_a_bad_request_opens_no_stream(orders: Probe, watching: OrderServiceStub) -> None:
    with pytest.raises(InvalidArgument) as error:
        await collect(watching.WatchOrder(orders_pb2.WatchOrderRequest(name="nobody")), [])
    assert list(error.value.fields) == ["name"]


async def test_a_stream_ends_at_its_deadline(orders: Probe, watching: OrderServiceStub) -> None:
    hanging = Hanging()
    orders.on("WatchOrder", hanging)
    seen: list[Any] = []
    with pytest.raises(DeadlineExceeded):
        await collect(watching.WatchOrder(WATCH, timeout=0.3), seen)
    assert len(seen) == 1
    await asyncio.wait_for(hanging.ended.wait(), 1)


@pytest.mark.parametrize("size", [1, 500_000], ids=["while it waits", "while it writes"])
async def test_a_watcher_that_leaves_ends_the_stream(orders: Probe, watching: OrderServiceStub, size: int) -> None:
    hanging = Hanging(size)
    orders.on("WatchOrder", hanging)
    async with aclosing(watching.WatchOrder(WATCH)) as responses:  # type: ignore[type-var]
        async for _ in responses:
            await asyncio.sleep(0.1)
            break
    await asyncio.wait_for(hanging.ended.wait(), 1)
    gc.collect()


async def test_a_watcher_that_is_cancelled_ends_the_stream(orders: Probe, watching: OrderServiceStub) -> None:
    hanging = Hanging()
    orders.on("WatchOrder", hanging)

    async def watch() -> None:
        async for _ in watching.WatchOrder(WATCH):
            pass

    task = asyncio.create_task(watch())
    await hanging.began.wait()
    task.cancel()
    await asyncio.wait_for(hanging.ended.wait(), 1)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_those_who_watch_do_not_keep_out_those_who_call(
    orders: Probe, catalog: Probe, watching: OrderServiceStub, importing: CatalogServiceStub
) -> None:
    opened = [Hanging() for _ in range(4)]
    watchers = []
    for hanging in opened:
        orders.on("WatchOrder", hanging)
        watchers.append(watching.WatchOrder(WATCH))
        await anext(watchers[-1])  # type: ignore[call-overload]
    with pytest.raises(ResourceExhausted):
        await collect(watching.WatchOrder(WATCH), [])

    async def answer(request: Any, context: Any) -> pb.GetProductResponse:
        return pb.GetProductResponse()

    catalog.on("GetProduct", answer)
    await importing.GetProduct(pb.GetProductRequest(name="products/1"))
    for watcher in watchers:
        await watcher.aclose()  # type: ignore[attr-defined]

    async def all_ended() -> bool:
        return all(hanging.ended.is_set() for hanging in opened)

    await eventually(all_ended)


@pytest.mark.parametrize("sampled", [False, True], ids=["unsampled", "sampled"])
async def test_an_instance_that_ends_while_it_writes_says_so_and_waits_for_nobody(sampled: bool) -> None:
    settings = Settings("orders", "orders/1", port=0, drain_s=0.0, grace_s=60.0)
    Telemetry(settings).tell()
    written = 0

    async def write(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        nonlocal written
        while True:
            written += 1
            yield state("x" * 500_000)

    async def waits_for_its_reader() -> bool:
        before = written
        await asyncio.sleep(0.05)
        return written == before > 0

    probe, server = Probe(ORDERS), Server(settings, SystemClock())
    probe.on("WatchOrder", write)
    await server.add(ORDERS, probe)
    await server.__aenter__()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        watching: Any = OrderServiceStub(channel)
        call = watching.WatchOrder(WATCH, metadata=(("traceparent", Trace.start(sampled=sampled).traceparent),))
        await anext(aiter(call))
        await eventually(waits_for_its_reader)
        ending = asyncio.create_task(server.__aexit__(None, None, None))
        with pytest.raises(grpc.aio.AioRpcError) as error:
            async with asyncio.timeout(5):
                await collect(call, [])
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(5):
            await ending
