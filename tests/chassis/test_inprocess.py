"""A call between services of one process is the same as one over gRPC: each behaviour is tried over both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from google.protobuf.descriptor import ServiceDescriptor
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1 import customers_pb2
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub
from mercato.orders.v1 import orders_pb2
from mercato.orders.v1.orders_pb2_grpc import OrderServiceStub
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from chassis.app import App
from chassis.call import Call, current_call, serving
from chassis.channels import Channel
from chassis.errors import (
    CANONICAL,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    MercatoError,
    NotFound,
    ResourceExhausted,
    Unavailable,
    invalid_field,
)
from chassis.inprocess import Exchange
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from chassis.settings import Settings
from chassis.status import from_rpc_error
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.trace import Trace
from tests.chassis.probe import CATALOG, CUSTOMERS, ORDERS, Probe
from tests.chassis.probe import serving as serving_probes
from tests.chassis.shelf import Shelf, new_name
from tests.stage import Stage, eventually

GET = pb.GetProductRequest(name="products/1")
WATCH = orders_pb2.WatchOrderRequest(name="orders/1")
PATH = "/mercato.catalog.v1.CatalogService/GetProduct"
SAMPLED = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)

_seen_by_caller: ContextVar[str] = ContextVar("seen_by_caller", default="nothing")


class CardDeclined(FailedPrecondition):
    """The card of {customer} was declined: {why}."""


@dataclass
class Way:
    """One of the two ways of a call, to probes that do what a test says."""

    stage: Stage
    in_process: bool
    catalog: Probe
    orders: Probe

    def channel(self, service: ServiceDescriptor, name: str = "shop") -> Any:
        if self.in_process:
            return self.stage.exchange.channel(name)
        before = self.stage.targets
        self.stage.targets = {service.file.package.split(".")[1]: before[name]}
        try:
            return self.stage.channel(service)
        finally:
            self.stage.targets = before

    def stub(self, service: ServiceDescriptor, stub: Callable[[Any], Any], name: str = "shop") -> Any:
        channel = ResilientChannel(self.channel(service, name), Resilience().callee(name), [service])
        return stub(Channel(channel, [service], "tests"))

    @property
    def asking(self) -> CatalogServiceStub:
        stub: CatalogServiceStub = self.stub(CATALOG, CatalogServiceStub)
        return stub

    @property
    def watching(self) -> OrderServiceStub:
        stub: OrderServiceStub = self.stub(ORDERS, OrderServiceStub)
        return stub

    async def refused(self, data: bytes, path: str = PATH) -> MercatoError:
        """Send bytes as a request; returns the error they are answered with."""
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await self.channel(CATALOG).unary_unary(path)(data, timeout=2)
        return from_rpc_error(error.value)


@pytest.fixture(scope="module")
async def probes(stage: Stage) -> tuple[Probe, Probe]:
    catalog, orders = Probe(CATALOG), Probe(ORDERS)
    stage.telemetry = Telemetry(Settings("tests", "tests/1"))
    await stage.start("shop", serving_probes(catalog, orders))
    return catalog, orders


@pytest.fixture(params=[False, True], ids=["grpc", "in process"])
def way(request: pytest.FixtureRequest, stage: Stage, probes: tuple[Probe, Probe]) -> Way:
    return Way(stage, request.param, *probes)


class Hanging:
    """Answers once, then no more; says how it ended."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()

    async def once(self, request: Any, context: Any) -> pb.GetProductResponse:
        self.began.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.ended.set()
            raise
        raise AssertionError

    async def stream(self, request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        self.began.set()
        try:
            yield state("first")
            await asyncio.sleep(60)
        finally:
            self.ended.set()


def state(etag: str) -> orders_pb2.WatchOrderResponse:
    return orders_pb2.WatchOrderResponse(order=orders_pb2.Order(etag=etag))


def product(number: int, title: str = "Mug") -> pb.ImportProductsRequest:
    return pb.ImportProductsRequest(product=pb.Product(name=f"products/{number}", title=title))


async def stream_of(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message


async def collect(responses: Any, seen: list[str]) -> None:
    async for response in responses:
        seen.append(response.order.etag)


async def test_a_reply_comes_from_one_who_knows_who_asks_until_when_and_in_which_trace(way: Way) -> None:
    seen: list[Call] = []

    async def note(request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        call = current_call()
        assert call is not None
        seen.append(call)
        return pb.GetProductResponse(product=pb.Product(name=request.name))

    way.catalog.on("GetProduct", note)
    asking = Call("/tests", "someone", asyncio.get_running_loop().time() + 1, Trace.start())
    with serving(asking):
        assert (await way.asking.GetProduct(GET)).product.name == "products/1"
        assert current_call() is asking
    [call] = seen
    assert (call.method, call.caller, call.trace.trace_id) == (PATH, "tests", asking.trace.trace_id)
    assert call.deadline is not None
    assert asking.deadline is not None
    assert 0 < call.deadline <= asking.deadline + 0.01


async def test_a_callee_has_a_context_and_a_request_of_its_own(way: Way) -> None:
    request = pb.GetProductRequest(name="products/1")

    async def change(theirs: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
        theirs.name = "changed"
        return pb.GetProductResponse(product=pb.Product(title=_seen_by_caller.get()))

    way.catalog.on("GetProduct", change)
    _seen_by_caller.set("the caller's")
    assert (await way.asking.GetProduct(request)).product.title == "nothing"
    assert request.name == "products/1"


@pytest.mark.parametrize(
    "error",
    [
        CardDeclined(customer="customers/1", why="{no} money, 100 % sure: ünïcödé"),
        invalid_field("product.title", "expected a title"),
        NotFound("x" * 100_000),
        Unavailable("not now"),
    ],
    ids=lambda it: type(it).__name__,
)
async def test_an_error_arrives_whole(way: Way, error: MercatoError) -> None:
    async def fail(request: Any, context: Any) -> None:
        raise error

    way.catalog.on("CreateProduct", fail)
    way.catalog.on("ImportProducts", fail)
    create = pb.CreateProductRequest(request_id=str(uuid4()), product=pb.Product(name="products/1", title="Mug"))
    for call in (way.asking.CreateProduct(create), way.asking.ImportProducts(stream_of())):
        with pytest.raises(MercatoError) as raised:
            await call
        got = raised.value
        assert type(got) is CANONICAL[error.code]
        assert (got.reason, got.data, got.fields) == (error.reason, error.data, error.fields)
        assert got.message[:800] == error.message[:800]


async def test_a_defect_is_internal_and_says_nothing(way: Way) -> None:
    async def fail(request: Any, context: Any) -> None:
        raise KeyError("a secret")

    way.catalog.on("GetProduct", fail)
    with pytest.raises(Internal) as error:
        await way.asking.GetProduct(GET)
    assert error.value.message == "Internal error."


async def test_what_is_no_message_or_too_large_or_unknown_is_refused(way: Way) -> None:
    error = await way.refused(b"garbage")
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.data["message"]) == ("NOT_A_MESSAGE", "mercato.catalog.v1.GetProductRequest")
    assert isinstance(await way.refused(b"\x0a\x00" * 600_000), ResourceExhausted)
    assert (await way.refused(b"", PATH + "s")).code == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_a_large_answer_is_refused(way: Way) -> None:
    async def answer(request: Any, context: Any) -> pb.GetProductResponse:
        return pb.GetProductResponse(product=pb.Product(title="x" * 5 * 1024**2))

    way.catalog.on("GetProduct", answer)
    with pytest.raises(ResourceExhausted):
        await way.asking.GetProduct(GET)


async def test_a_call_ends_at_its_deadline_on_both_sides(way: Way) -> None:
    hanging = Hanging()
    way.catalog.on("GetProduct", hanging.once)
    started = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await way.asking.GetProduct(GET, timeout=0.2)
    await asyncio.wait_for(hanging.ended.wait(), 1)
    assert 0.2 <= asyncio.get_running_loop().time() - started < 0.5


async def test_a_caller_that_goes_away_cancels_the_work(way: Way) -> None:
    hanging = Hanging()
    way.catalog.on("GetProduct", hanging.once)
    calling = asyncio.ensure_future(way.asking.GetProduct(GET))
    await hanging.began.wait()
    calling.cancel()
    await asyncio.wait_for(hanging.ended.wait(), 1)
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_only_what_is_safe_is_tried_again(way: Way) -> None:
    tries = 0

    async def fail_twice(request: Any, context: Any) -> pb.GetProductResponse:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable
        return pb.GetProductResponse()

    async def fail(request: Any, context: Any) -> None:
        nonlocal tries
        tries += 1
        raise Unavailable

    way.catalog.on("GetProduct", fail_twice)
    await way.asking.GetProduct(GET)
    assert tries == 3
    tries = 0
    way.catalog.on("GetProduct", fail)
    with pytest.raises(Unavailable):
        await way.asking.GetProduct(GET)
    assert tries == 4
    way.catalog.on("ImportProducts", fail)
    with pytest.raises(Unavailable):
        await way.asking.ImportProducts(stream_of())
    assert tries == 5


async def test_a_stream_of_requests_arrives_in_order_and_is_checked_one_by_one(way: Way) -> None:
    async def count(requests: AsyncIterator[pb.ImportProductsRequest], context: Any) -> pb.ImportProductsResponse:
        names = [request.product.name async for request in requests]
        assert names == [f"products/{number}" for number in range(len(names))]
        return pb.ImportProductsResponse(created_count=len(names))

    way.catalog.on("ImportProducts", count)
    assert (await way.asking.ImportProducts(stream_of(*map(product, range(100))))).created_count == 100
    assert (await way.asking.ImportProducts(iter([product(0)]))).created_count == 1
    assert (await way.asking.ImportProducts(stream_of())).created_count == 0
    with pytest.raises(InvalidArgument) as error:
        await way.asking.ImportProducts(stream_of(product(0), product(1, title=""), product(2)))
    assert list(error.value.fields) == ["product.title"]


async def test_a_stream_of_requests_is_refused_before_its_end_and_not_read_ahead(way: Way) -> None:
    sent = 0
    left = asyncio.Event()

    async def refuse_second(requests: AsyncIterator[Any], context: Any) -> pb.ImportProductsResponse:
        await anext(requests)
        await anext(requests)
        raise FailedPrecondition("enough")

    async def endless() -> AsyncGenerator[pb.ImportProductsRequest, None]:
        nonlocal sent
        try:
            while True:
                yield product(sent, title="x" * 200)
                sent += 1
        finally:
            left.set()

    way.catalog.on("ImportProducts", refuse_second)
    async with aclosing(endless()) as requests:
        with pytest.raises(FailedPrecondition, match="enough"):
            await way.asking.ImportProducts(requests)
    assert left.is_set()
    assert 2 <= sent < 2000


async def test_a_caller_whose_own_stream_breaks_off_is_told_why(way: Way) -> None:
    async def count(requests: AsyncIterator[Any], context: Any) -> pb.ImportProductsResponse:
        return pb.ImportProductsResponse(created_count=len([request async for request in requests]))

    async def broken() -> AsyncIterator[pb.ImportProductsRequest]:
        yield product(0)
        raise ZeroDivisionError

    way.catalog.on("ImportProducts", count)
    with pytest.raises(ZeroDivisionError):
        await way.asking.ImportProducts(broken())


@pytest.mark.parametrize("after", [0, 50])
async def test_answers_stream_in_order_and_an_error_comes_after_them(way: Way, after: int) -> None:
    async def fail(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        for number in range(after):
            call = current_call()
            assert call is not None
            yield state(f"{call.caller} {number}")
        raise NotFound(name="orders/1")

    way.orders.on("WatchOrder", fail)
    seen: list[str] = []
    with pytest.raises(NotFound) as error:
        await collect(way.watching.WatchOrder(WATCH), seen)
    assert seen == [f"tests {number}" for number in range(after)]
    assert error.value.data == {"name": "orders/1"}


async def test_a_stream_that_nobody_reads_waits(way: Way) -> None:
    sent = 0

    async def endless(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        nonlocal sent
        while True:
            yield state("x" * 100_000)
            sent += 1

    way.orders.on("WatchOrder", endless)
    async with aclosing(way.watching.WatchOrder(WATCH)) as responses:  # type: ignore[type-var]
        await anext(responses)  # type: ignore[call-overload]
        await asyncio.sleep(0.05)
    assert sent < 200


async def test_a_stream_ends_at_its_deadline(way: Way) -> None:
    hanging = Hanging()
    way.orders.on("WatchOrder", hanging.stream)
    seen: list[str] = []
    with pytest.raises(DeadlineExceeded):
        await collect(way.watching.WatchOrder(WATCH, timeout=0.2), seen)
    assert seen == ["first"]
    await asyncio.wait_for(hanging.ended.wait(), 1)


async def test_a_watcher_that_leaves_ends_the_stream(way: Way) -> None:
    hanging = Hanging()
    way.orders.on("WatchOrder", hanging.stream)
    async with aclosing(way.watching.WatchOrder(WATCH)) as responses:  # type: ignore[type-var]
        async for _ in responses:
            break
    await asyncio.wait_for(hanging.ended.wait(), 1)


async def test_streams_go_both_ways(way: Way) -> None:
    """No method of ours does so yet; this one answers each product with one."""
    path = "/tests.Echo/Echo"

    async def echo(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request)

    handler: Any = grpc.stream_stream_rpc_method_handler(echo)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tests.Echo", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    exchange = Exchange(["echo"])
    async with exchange.serving("echo", {path: handler}), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as remote:
        channel: Any = exchange.channel("echo") if way.in_process else remote
        call = channel.stream_stream(path)(stream_of(*(b"%d" % number for number in range(100))), timeout=2)
        assert [each async for each in call] == [b"%d" % number for number in range(100)]
    await server.stop(0)


async def test_the_same_request_again_gets_the_same_answer(way: Way, tmp_path: Path) -> None:
    shelf = await Shelf.open(way.stage, tmp_path)
    stub: CatalogServiceStub = way.stub(CATALOG, CatalogServiceStub, "catalog")
    request = pb.CreateProductRequest(request_id=str(uuid4()), product=pb.Product(name=new_name(), title="Mug"))
    first, *again = await asyncio.gather(*(stub.CreateProduct(request) for _ in range(5)))
    assert again == [first] * 4
    assert await shelf.events(request.product.name) == [1]
    request.product.title = "Jug"
    with pytest.raises(InvalidArgument) as error:
        await stub.CreateProduct(request)
    assert error.value.reason == "REQUEST_ID_REUSED"


async def test_a_sampled_call_is_recorded_by_both_sides(way: Way) -> None:
    exporter = InMemorySpanExporter()
    telemetry = way.stage.telemetry
    assert telemetry is not None
    telemetry.tell().provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def fail(request: Any, context: Any) -> None:
        raise NotFound(name="products/1")

    async def count(requests: Any, context: Any) -> pb.ImportProductsResponse:
        return pb.ImportProductsResponse(created_count=len([each async for each in requests]))

    async def one(request: Any, context: Any) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        yield state("1")

    async def recorded() -> bool:
        return len(exporter.get_finished_spans()) == 6

    way.catalog.on("GetProduct", fail)
    way.catalog.on("ImportProducts", count)
    way.orders.on("WatchOrder", one)
    with serving(Call("/tests", "tests", None, SAMPLED)):
        with pytest.raises(NotFound):
            await way.asking.GetProduct(GET)
        assert (await way.asking.ImportProducts(stream_of(product(0)))).created_count == 1
        assert [each.order.etag async for each in way.watching.WatchOrder(WATCH)] == ["1"]
    await eventually(recorded)
    spans = exporter.get_finished_spans()
    by_id = {span.context.span_id: span for span in spans}
    servers = [span for span in spans if span.kind is trace.SpanKind.SERVER]
    assert {f"{span.context.trace_id:032x}" for span in spans} == {SAMPLED.trace_id}
    assert len(servers) == 3
    for span in servers:
        assert span.parent is not None
        assert by_id[span.parent.span_id].kind is trace.SpanKind.CLIENT
    codes = {(span.attributes or {})["rpc.response.status_code"] for span in spans if "GetProduct" in span.name}
    assert codes == {"NOT_FOUND"}


async def test_a_service_finds_those_beside_it_without_a_network(stage: Stage) -> None:
    exchange = Exchange(["catalog", "customers"])
    catalog, customers = Probe(CATALOG), Probe(CUSTOMERS)

    async def answer(request: Any, context: Any) -> pb.GetProductResponse:
        call = current_call()
        assert call is not None
        return pb.GetProductResponse(product=pb.Product(title=f"{call.caller} by {context.peer()}"))

    async def compose_customers(app: App) -> None:
        ask = app.client(CATALOG, CatalogServiceStub)

        async def pass_on(request: Any, context: Any) -> customers_pb2.GetCustomerResponse:
            answer = await ask.GetProduct(GET)
            return customers_pb2.GetCustomerResponse(customer=customers_pb2.Customer(display_name=answer.product.title))

        customers.on("GetCustomer", pass_on)
        app.serve(CUSTOMERS, customers)

    catalog.on("GetProduct", answer)
    together = Stage(stage.postgres_url, stage.nats_url, stage.stack, exchange=exchange)
    await together.start("customers", compose_customers)
    stub = together.stub(CUSTOMERS, CustomerServiceStub)
    request = customers_pb2.GetCustomerRequest(name="customers/1")
    with pytest.raises(Unavailable):
        await stub.GetCustomer(request)
    await together.start("catalog", serving_probes(catalog))
    assert (await stub.GetCustomer(request)).customer.display_name == "customers by unix:inprocess"


async def test_a_service_that_ends_lets_go_of_its_callers() -> None:
    hanging = Hanging()
    exchange = Exchange(["catalog"])
    path = "/tests.Hang/Hang"
    async with exchange.serving("catalog", {path: grpc.unary_unary_rpc_method_handler(hanging.once)}):
        call: Any = exchange.channel("catalog").unary_unary(path)(b"", timeout=30)
        await hanging.began.wait()
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert hanging.ended.is_set()
