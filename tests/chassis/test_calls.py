"""One call through the whole chassis: errors, validation, limits, deadlines and cancellation, over real gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1 import customers_pb2
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub

from chassis.app import App
from chassis.call import Call, current_call, serving
from chassis.channels import Channel, open_channel
from chassis.errors import (
    CANONICAL,
    Aborted,
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
from chassis.status import from_rpc_error
from chassis.telemetry.trace import Trace
from tests.chassis.probe import CATALOG, CUSTOMERS, Probe, catalog
from tests.stage import Stage, eventually

GET = pb.GetProductRequest(name="products/1")
PATH = "/mercato.catalog.v1.CatalogService/GetProduct"


class CardDeclined(FailedPrecondition):
    """The card of {customer} was declined: {why}."""


@pytest.fixture(scope="module")
async def served(stage: Stage) -> tuple[Probe, CatalogServiceStub]:
    return await catalog(stage, max_concurrent_calls=8)


@pytest.fixture
def probe(served: tuple[Probe, CatalogServiceStub]) -> Probe:
    return served[0]


@pytest.fixture
def stub(served: tuple[Probe, CatalogServiceStub]) -> CatalogServiceStub:
    return served[1]


def raising(error: Exception) -> Callable[[Any, Any], Awaitable[Message]]:
    async def behavior(request: Any, context: Any) -> Message:
        raise error

    return behavior


async def answer(request: pb.GetProductRequest, context: Any) -> pb.GetProductResponse:
    return pb.GetProductResponse(product=pb.Product(name=request.name))


async def raw_call(stage: Stage, data: bytes, path: str = PATH) -> MercatoError:
    """Send bytes as a request; returns the error they are answered with."""
    send: Any = stage.channel(CATALOG).unary_unary(path)
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await send(data)
    return from_rpc_error(error.value)


@pytest.mark.parametrize("error_class", CANONICAL.values(), ids=lambda it: str(it.__name__))
async def test_an_error_arrives_as_the_class_of_its_code(
    probe: Probe, stub: CatalogServiceStub, error_class: type[MercatoError]
) -> None:
    probe.on("GetProduct", raising(error_class("what happened")))
    with pytest.raises(error_class) as error:
        await stub.GetProduct(GET)
    assert type(error.value) is error_class
    assert error.value.message == ("Internal error." if error_class is Internal else "what happened")
    assert error.value.definite == error_class.definite


async def test_a_domain_error_arrives_with_its_reason_and_data(probe: Probe, stub: CatalogServiceStub) -> None:
    probe.on("GetProduct", raising(CardDeclined(customer="customers/1", why="{no} money, 100 % sure: ünïcödé")))
    with pytest.raises(FailedPrecondition) as error:
        await stub.GetProduct(GET)
    assert error.value.reason == "CARD_DECLINED"
    assert error.value.data == {"customer": "customers/1", "why": "{no} money, 100 % sure: ünïcödé"}
    assert error.value.message == "The card of customers/1 was declined: {no} money, 100 % sure: ünïcödé."


async def test_an_error_passes_on_through_a_service(probe: Probe, stub: CatalogServiceStub) -> None:
    probe.on("GetProduct", raising(CardDeclined(customer="customers/1", why="{braces}")))

    async def ask_further(request: Any, context: Any) -> Message:
        await stub.GetProduct(GET)
        return pb.ListProductsResponse()

    probe.on("ListProducts", ask_further)
    with pytest.raises(FailedPrecondition) as error:
        await stub.ListProducts(pb.ListProductsRequest())
    assert (error.value.reason, error.value.data["why"]) == ("CARD_DECLINED", "{braces}")


async def test_an_unexpected_exception_is_told_to_nobody_but_the_log(
    probe: Probe, stub: CatalogServiceStub, caplog: pytest.LogCaptureFixture
) -> None:
    probe.on("GetProduct", raising(KeyError("a secret")))
    with caplog.at_level(logging.ERROR), pytest.raises(Internal) as error:
        await stub.GetProduct(GET)
    assert (error.value.message, error.value.data, error.value.fields) == ("Internal error.", {}, {})
    [record] = [record for record in caplog.records if record.exc_info]
    assert "a secret" in str(record.exc_info[1])  # type: ignore[index]


async def test_an_answer_of_another_type_is_a_defect_of_ours(
    probe: Probe, stub: CatalogServiceStub, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(request: Any, context: Any) -> None:
        return None

    probe.on("GetProduct", nothing)
    with caplog.at_level(logging.ERROR), pytest.raises(Internal):
        await stub.GetProduct(GET)
    assert any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(
    ("detail", "data"),
    [("x" * 100_000, {}), ("", {"name": "n" * 100_000}), ("\U0001f37a" * 30_000, {})],
    ids=["text", "data", "unicode"],
)
async def test_an_error_however_large_keeps_its_code(
    probe: Probe, stub: CatalogServiceStub, detail: str, data: dict[str, Any]
) -> None:
    probe.on("GetProduct", raising(NotFound(detail, **data)))
    with pytest.raises(NotFound) as error:
        await stub.GetProduct(GET)
    assert error.value.reason == "NOT_FOUND"


async def test_an_error_names_as_many_fields_as_its_headers_carry(probe: Probe, stub: CatalogServiceStub) -> None:
    fields = {f"addresses[{'ü' * 900}{number}].lines": "expected " + "€" * 900 for number in range(20)}
    probe.on("GetProduct", raising(InvalidArgument("; ".join(fields), fields=fields)))
    with pytest.raises(InvalidArgument) as error:
        await stub.GetProduct(GET)
    assert error.value.fields


@pytest.mark.parametrize(
    "data", [b"\xff\xff\xff", b"\x0a\x05abc", b"\x0a\x02\xff\xfe", b"garbage", b"\x0a\x0cproducts/\xc3\x28\x41"]
)
async def test_bytes_that_are_no_message_are_the_callers_fault(stage: Stage, probe: Probe, data: bytes) -> None:
    probe.on("GetProduct", answer)
    error = await raw_call(stage, data)
    assert isinstance(error, InvalidArgument)
    assert (error.reason, error.data["message"]) == ("NOT_A_MESSAGE", "mercato.catalog.v1.GetProductRequest")


async def test_validation_names_nested_fields(stub: CatalogServiceStub) -> None:
    request = pb.CreateProductRequest(
        request_id="no uuid", product=pb.Product(name="products/ä", title="t", prices=[pb.Price()])
    )
    with pytest.raises(InvalidArgument) as error:
        await stub.CreateProduct(request)
    assert set(error.value.fields) == {"request_id", "product.name", "product.prices[0].amount"}
    assert "product.prices[0].amount" in error.value.message


async def test_validation_names_twenty_fields_at_most(stub: CatalogServiceStub) -> None:
    request = pb.BatchGetProductsRequest(names=[f"{n} " + "x" * 80 for n in range(500)])
    with pytest.raises(InvalidArgument) as error:
        await stub.BatchGetProducts(request)
    assert list(error.value.fields) == [f"names[{n}]" for n in range(20)]


async def test_a_huge_bad_request_does_not_hold_up_the_others(stage: Stage, served: object) -> None:
    longest_s, loop = 0.0, asyncio.get_running_loop()

    async def beat() -> None:
        nonlocal longest_s
        while True:
            before = loop.time()
            await asyncio.sleep(0.01)
            longest_s = max(longest_s, loop.time() - before)

    beating = asyncio.create_task(beat())
    names = b"\x0a\x01x" * 300_000
    error = await raw_call(stage, names, PATH.replace("GetProduct", "BatchGetProducts"))
    beating.cancel()
    assert list(error.fields) == ["names"]
    assert longest_s < 2


async def test_a_request_over_the_limit_is_refused(stage: Stage, served: object) -> None:
    error = await raw_call(stage, b"\x0a\x00" * 600_000)
    assert isinstance(error, ResourceExhausted)


async def test_an_instance_takes_so_many_calls_at_once_and_refuses_more(probe: Probe, stub: CatalogServiceStub) -> None:
    go = asyncio.Event()
    entered = 0

    async def hold(request: Any, context: Any) -> Message:
        nonlocal entered
        entered += 1
        await go.wait()
        return pb.GetProductResponse()

    async def full() -> bool:
        return entered == 8

    probe.on("GetProduct", hold)
    held = [asyncio.create_task(stub.GetProduct(GET)) for _ in range(8)]  # type: ignore[arg-type,var-annotated]
    await eventually(full)
    with pytest.raises(ResourceExhausted) as error:
        await stub.GetProduct(GET)
    assert (error.value.reason, error.value.data) == ("OVERLOADED", {"limit": "8"})
    go.set()
    await asyncio.gather(*held)
    await stub.GetProduct(GET)  # and there is room again


async def test_a_call_ends_at_its_deadline_on_the_server_too(probe: Probe, stub: CatalogServiceStub) -> None:
    cancelled = asyncio.Event()

    async def hang(request: Any, context: Any) -> Message:
        try:
            await asyncio.sleep(60)
        finally:
            cancelled.set()
        raise AssertionError

    probe.on("GetProduct", hang)
    started = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await stub.GetProduct(GET, timeout=0.2)
    await asyncio.wait_for(cancelled.wait(), 1)
    assert asyncio.get_running_loop().time() - started < 0.5


async def test_a_caller_without_a_deadline_gets_that_of_the_contract(
    probe: Probe, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def left(request: Any, context: Any) -> Message:
        call = current_call()
        assert call is not None
        assert call.deadline is not None
        return pb.GetProductResponse(product=pb.Product(etag=str(call.deadline - asyncio.get_running_loop().time())))

    probe.on("GetProduct", left)
    bare: Any = CatalogServiceStub(stage.channel(CATALOG))
    remaining_s = float((await bare.GetProduct(GET)).product.etag)
    assert 1.5 < remaining_s <= 2.0
    remaining_s = float((await bare.GetProduct(GET, timeout=3600)).product.etag)
    assert 1.5 < remaining_s <= 2.0  # and the server never works longer than its contract allows


async def test_a_callee_never_works_longer_than_its_caller_waits(stage: Stage, probe: Probe) -> None:
    seen: list[float] = []

    async def note(request: Any, context: Any) -> Message:
        call = current_call()
        assert call is not None
        assert call.deadline is not None
        seen.append(call.deadline - asyncio.get_running_loop().time())
        return pb.GetProductResponse()

    async def compose(app: App) -> None:
        ask = app.client(CATALOG, CatalogServiceStub)
        outer = Probe(CUSTOMERS)

        async def pass_on(request: Any, context: Any) -> Message:
            await note(request, context)
            await asyncio.sleep(0.3)
            await ask.GetProduct(GET)
            await ask.GetProduct(GET, timeout=60)  # what it asks for itself counts no more than what is left
            return customers_pb2.GetCustomerResponse()

        outer.on("GetCustomer", pass_on)
        app.serve(CUSTOMERS, outer)

    probe.on("GetProduct", note)
    await stage.start("customers", compose)
    customers = stage.stub(CUSTOMERS, CustomerServiceStub)
    await customers.GetCustomer(customers_pb2.GetCustomerRequest(name="customers/1"), timeout=1)
    own_s, *passed_on_s = seen
    assert 0.8 < own_s <= 1
    assert len(passed_on_s) == 2
    assert all(0 < each <= own_s - 0.3 + 0.02 for each in passed_on_s)


async def test_nothing_is_sent_when_no_time_is_left(probe: Probe, stub: CatalogServiceStub) -> None:
    probe.on("GetProduct", raising(AssertionError("sent")))
    late = Call("/tests", "tests", asyncio.get_running_loop().time(), Trace.start())
    with serving(late), pytest.raises(DeadlineExceeded):
        await stub.GetProduct(GET)


async def test_a_caller_that_goes_away_cancels_the_work(probe: Probe, stub: CatalogServiceStub) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def hang(request: Any, context: Any) -> Message:
        entered.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    probe.on("GetProduct", hang)
    calling = asyncio.ensure_future(stub.GetProduct(GET))
    await entered.wait()
    calling.cancel()
    await asyncio.wait_for(cancelled.wait(), 1)
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_a_call_knows_who_asks(probe: Probe, stage: Stage) -> None:
    async def who(request: Any, context: Any) -> Message:
        call = current_call()
        assert call is not None
        return pb.GetProductResponse(product=pb.Product(name=call.caller, title=call.method))

    probe.on("GetProduct", who)
    named = (await stage.stub(CATALOG, CatalogServiceStub, caller="gateway").GetProduct(GET)).product
    assert (named.name, named.title) == ("gateway", PATH)
    bare: Any = CatalogServiceStub(stage.channel(CATALOG))
    assert (await bare.GetProduct(GET)).product.name == "anonymous"
    assert current_call() is None


async def test_only_what_is_safe_is_retried(probe: Probe, stage: Stage) -> None:
    tries = 0

    async def fail_once(request: Any, context: Any) -> Message:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise Unavailable
        return pb.GetProductResponse()

    async def lose_race(request: Any, context: Any) -> Message:
        nonlocal tries
        tries += 1
        raise Aborted

    stub = stage.stub(CATALOG, CatalogServiceStub)
    probe.on("GetProduct", fail_once)
    await stub.GetProduct(GET)
    assert tries == 2
    probe.on("GetProduct", lose_race)
    with pytest.raises(Aborted):
        await stub.GetProduct(GET)
    assert tries == 3


async def test_details_of_another_maker_are_no_obstacle(stage: Stage) -> None:
    async def foreign(request: Any, context: Any) -> Message:
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone", (("grpc-status-details-bin", b"\xff\xff no status"),))
        raise AssertionError

    server = grpc.aio.server()
    handlers: Any = {"GetProduct": grpc.unary_unary_rpc_method_handler(foreign)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CATALOG.full_name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = CatalogServiceStub(cast(Any, Channel(channel, [CATALOG], "tests")))
        with pytest.raises(NotFound, match="gone"):
            await stub.GetProduct(GET)
    await server.stop(None)


async def test_fields_travel_as_a_standard_bad_request(probe: Probe, stage: Stage) -> None:
    probe.on("GetProduct", raising(invalid_field("product.title", "expected a title")))
    bare: Any = CatalogServiceStub(stage.channel(CATALOG))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await bare.GetProduct(GET)
    raw = dict(error.value.trailing_metadata() or ())["grpc-status-details-bin"]
    details: list[AnyMessage] = list(Status.FromString(raw).details)
    bad_request = BadRequest()
    assert details[1].Unpack(bad_request)
    [violation] = bad_request.field_violations
    assert (violation.field, violation.description) == ("product.title", "expected a title")


async def test_a_channel_refuses_methods_it_has_no_contract_of(stage: Stage) -> None:
    stranger: Any = Channel(stage.channel(CATALOG), [CUSTOMERS], "tests")
    with pytest.raises(KeyError):
        await CatalogServiceStub(stranger).GetProduct(GET)
