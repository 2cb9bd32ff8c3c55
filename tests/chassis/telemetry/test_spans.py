"""Traces across two services: what goes on the wire always, what OpenTelemetry records when a call is sampled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from mercato.catalog.v1 import catalog_pb2
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1 import customers_pb2
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chassis.app import App
from chassis.call import Call, current_call, serving
from chassis.errors import MercatoError, NotFound
from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.sampling import Sampler
from chassis.telemetry.trace import Trace
from tests.chassis.probe import CATALOG, CUSTOMERS, Probe
from tests.chassis.probe import serving as serving_probes
from tests.stage import Stage, eventually

ASK = customers_pb2.GetCustomerRequest(name="customers/1")
SAMPLED = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)


@pytest.fixture(scope="module")
def telemetry(stage: Stage) -> Telemetry:
    """What all on stage tell through."""
    stage.telemetry = Telemetry(Settings("tests", "tests/1"))
    return stage.telemetry


@pytest.fixture(scope="module")
def exporter(telemetry: Telemetry) -> InMemorySpanExporter:
    """Collects spans in memory."""
    exporter = InMemorySpanExporter()
    telemetry.provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter


@pytest.fixture
def recorded(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


class Services:
    """customers asks catalog: what each saw of the trace."""

    def __init__(self) -> None:
        self.seen: list[Trace] = []
        self.failure: MercatoError | None = None

    def note(self) -> None:
        call = current_call()
        assert call is not None
        self.seen.append(call.trace)

    async def product(self, request: Any, context: Any) -> catalog_pb2.GetProductResponse:
        self.note()
        if self.failure:
            raise self.failure
        return catalog_pb2.GetProductResponse()

    async def imported(self, requests: AsyncIterator[Any], context: Any) -> catalog_pb2.ImportProductsResponse:
        self.note()
        return catalog_pb2.ImportProductsResponse(created_count=len([request async for request in requests]))

    async def compose_customers(self, app: App) -> None:
        catalog = app.client(CATALOG, CatalogServiceStub)
        probe = Probe(CUSTOMERS)

        async def customer(request: Any, context: Any) -> customers_pb2.GetCustomerResponse:
            self.note()
            await catalog.GetProduct(catalog_pb2.GetProductRequest(name="products/1"))
            return customers_pb2.GetCustomerResponse()

        async def imports(request: Any, context: Any) -> customers_pb2.ListCustomersResponse:
            self.note()

            async def products() -> AsyncIterator[catalog_pb2.ImportProductsRequest]:
                yield catalog_pb2.ImportProductsRequest(product=catalog_pb2.Product(name="products/1", title="Mug"))

            await catalog.ImportProducts(products())
            return customers_pb2.ListCustomersResponse()

        probe.on("GetCustomer", customer)
        probe.on("ListCustomers", imports)
        app.serve(CUSTOMERS, probe)


@pytest.fixture(scope="module")
async def started(stage: Stage, exporter: InMemorySpanExporter) -> Services:
    services, probe = Services(), Probe(CATALOG)
    probe.on("GetProduct", services.product)
    probe.on("ImportProducts", services.imported)
    await stage.start("catalog", serving_probes(probe))
    await stage.start("customers", services.compose_customers)
    return services


@pytest.fixture
def services(started: Services) -> Services:
    started.seen.clear()
    started.failure = None
    return started


@pytest.fixture
async def customers(stage: Stage, services: Services, telemetry: Telemetry) -> CustomerServiceStub:
    telemetry.tell()
    return stage.stub(CUSTOMERS, CustomerServiceStub)


async def spans(exporter: InMemorySpanExporter, count: int) -> dict[tuple[str, SpanKind], ReadableSpan]:
    """Return so many finished spans by method and kind; servers end theirs after their callers have the answer."""

    async def finished() -> bool:
        return len(exporter.get_finished_spans()) >= count

    await eventually(finished)
    found = exporter.get_finished_spans()
    assert len(found) == count
    return {(span.name.rpartition("/")[2], span.kind): span for span in found}


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def traced(context: Trace) -> Any:
    return serving(Call("/tests", "tests", None, context))


async def test_an_unsampled_call_passes_its_trace_on_and_records_nothing(
    services: Services, customers: CustomerServiceStub, recorded: InMemorySpanExporter
) -> None:
    beginning = Trace.start()
    with traced(beginning):
        await customers.GetCustomer(ASK)
    first, second = services.seen
    assert first.trace_id == second.trace_id == beginning.trace_id
    assert not first.sampled
    assert not second.sampled
    assert recorded.get_finished_spans() == ()


async def test_a_sampled_call_is_recorded_by_both_sides_of_both_hops(
    services: Services, customers: CustomerServiceStub, recorded: InMemorySpanExporter
) -> None:
    with traced(SAMPLED):
        await customers.GetCustomer(ASK)
    found = await spans(recorded, 4)
    asked = found["GetCustomer", SpanKind.CLIENT], found["GetCustomer", SpanKind.SERVER]
    further = found["GetProduct", SpanKind.CLIENT], found["GetProduct", SpanKind.SERVER]
    assert {f"{span.context.trace_id:032x}" for span in found.values()} == {SAMPLED.trace_id}
    assert f"{parent_of(asked[0]):016x}" == SAMPLED.span_id
    assert parent_of(asked[1]) == asked[0].context.span_id
    assert parent_of(further[0]) == asked[1].context.span_id
    assert parent_of(further[1]) == further[0].context.span_id
    assert all(span.status.status_code is not StatusCode.ERROR for span in found.values())
    assert [each.span_id for each in services.seen] == [
        f"{span.context.span_id:016x}" for span in (asked[1], further[1])
    ]


async def test_a_stream_of_requests_is_recorded_too(
    services: Services, customers: CustomerServiceStub, recorded: InMemorySpanExporter
) -> None:
    with traced(SAMPLED):
        await customers.ListCustomers(customers_pb2.ListCustomersRequest())
    found = await spans(recorded, 4)
    assert parent_of(found["ImportProducts", SpanKind.SERVER]) == (
        found["ImportProducts", SpanKind.CLIENT].context.span_id
    )


async def test_a_failure_shows_on_every_span(
    services: Services, customers: CustomerServiceStub, recorded: InMemorySpanExporter
) -> None:
    services.failure = NotFound(name="products/1")
    with traced(SAMPLED), pytest.raises(NotFound):
        await customers.GetCustomer(ASK)
    found = await spans(recorded, 4)
    assert all(
        span.attributes and span.attributes["rpc.response.status_code"] == "NOT_FOUND" for span in found.values()
    )
    assert found["GetProduct", SpanKind.CLIENT].status.status_code is StatusCode.ERROR


async def test_a_trace_begun_by_a_server_is_the_one_in_its_logs_and_events(
    stage: Stage,
    telemetry: Telemetry,
    services: Services,
    recorded: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probe, seen = Probe(CATALOG), []

    async def note(request: Any, context: Any) -> catalog_pb2.GetProductResponse:
        call = current_call()
        assert call is not None
        seen.append(call.trace)
        return catalog_pb2.GetProductResponse()

    probe.on("GetProduct", note)
    before = stage.targets["catalog"]
    monkeypatch.setattr(telemetry, "sampler", Sampler(1.0))
    await stage.start("catalog", serving_probes(probe))
    bare: Any = CatalogServiceStub(stage.channel(CATALOG))
    stage.targets["catalog"] = before
    await bare.GetProduct(catalog_pb2.GetProductRequest(name="products/1"))
    span = (await spans(recorded, 1))["GetProduct", SpanKind.SERVER]
    assert seen == [Trace(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", sampled=True)]


@pytest.mark.parametrize(
    "header",
    ["", "garbage", f"00-{'0' * 32}-{'b' * 16}-01", f"00-{'a' * 32}-{'0' * 16}-01", f"00-{'A' * 32}-{'b' * 16}-01"],
)
def test_what_is_no_trace_begins_a_new_one(header: str) -> None:
    assert Trace.parse(header) is None


def test_a_trace_survives_its_header() -> None:
    assert Trace.parse(SAMPLED.traceparent) == SAMPLED
    assert Trace.parse(Trace.start().traceparent) is not None
