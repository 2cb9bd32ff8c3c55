"""What an instance tells on its way to who listens, and that it never waits for that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest
from mercato.catalog.v1 import catalog_pb2
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from prometheus_client import REGISTRY

from chassis import tasks
from chassis.app import App
from chassis.call import Call, serving
from chassis.errors import Internal, MercatoError, NotFound, Unavailable
from chassis.resilience.concurrency import Overloaded
from chassis.settings import Settings
from chassis.status import to_status, to_trailers
from chassis.telemetry import export
from chassis.telemetry.export import Exporter, exporting
from chassis.telemetry.instance import Telemetry, fields_of
from chassis.telemetry.metrics import Measured, measure
from chassis.telemetry.otlp import resource_of
from chassis.telemetry.spans import span
from chassis.telemetry.trace import Trace
from fleet import ports
from tests.chassis.probe import CATALOG, Probe
from tests.chassis.probe import serving as serving_probes
from tests.collector import Collector, Span, collector
from tests.stage import Stage, eventually

SAMPLED = Trace("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", sampled=True)
ASK = catalog_pb2.GetProductRequest(name="products/1")
SETTINGS = Settings("shop", "shop/1", trace_ratio=0.0)


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for seconds here."""
    monkeypatch.setattr(export, "EVERY_S", 0.02)
    monkeypatch.setattr(export, "METRICS_EVERY_S", 0.04)
    monkeypatch.setattr(export, "TIMEOUT_S", 0.2)


@asynccontextmanager
async def telling(port: int, settings: Settings = SETTINGS) -> AsyncIterator[Telemetry]:
    """Tell a collector within the block."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_reconnect_backoff_ms", 100)])
    exporter = Exporter(channel, resource_of(fields_of(settings)), {"api-key": "secret"})
    async with exporting([exporter]):
        yield Telemetry(settings, [exporter]).tell()


@contextmanager
def working(trace: Trace) -> Iterator[None]:
    with serving(Call("/tests", "tests", None, trace)):
        yield


def line(message: str) -> dict[str, Any]:
    return {"time": datetime.now(UTC), "level": "INFO", "message": message}


def dropped(signal: str, reason: str) -> float:
    labels = {"mercato_signal": signal, "mercato_reason": reason}
    return REGISTRY.get_sample_value("mercato_telemetry_dropped_total", labels) or 0.0


async def test_spans_come_with_who_made_them_and_where_they_stand() -> None:
    async with collector() as kept, telling(kept.port):
        with working(SAMPLED), span("outer", attributes={"tests.number": 3}), span("inner"):
            pass
        with working(Trace.start()), span("not sampled"):
            pass

        async def came() -> bool:
            return len(kept.spans) == 2

        await eventually(came)
    inner, outer = kept.spans
    assert (outer.name, outer.trace, outer.parent) == ("outer", SAMPLED.trace_id, SAMPLED.span_id)
    assert (inner.name, inner.trace, inner.parent) == ("inner", SAMPLED.trace_id, outer.id)
    assert outer.attributes == {"tests.number": 3}
    assert outer.resource == {
        "service.name": "shop", "service.namespace": "mercato", "service.instance.id": "shop/1",
        "service.version": "v1",
    }  # fmt: skip


async def test_metrics_come_again_and_again() -> None:
    async with collector() as kept, telling(kept.port):

        async def came() -> bool:
            return ("shop/1", "rpc.server.call.duration") in kept.metrics

        await eventually(came)
        kept.metrics.clear()
        await eventually(came)


async def test_logs_and_metrics_come_however_many_spans_there_are() -> None:
    async with collector() as kept, telling(kept.port) as telemetry:
        kept.meanwhile = lambda: telemetry.tracer.start_span("one more").end()  # so that there is always one
        kept.meanwhile()
        telemetry.log(line("heard"))

        async def came() -> bool:
            return bool(kept.logs and kept.metrics)

        await eventually(came)
        kept.meanwhile = lambda: None


async def test_what_comes_while_spans_are_sent_waits_for_the_next_turn_or_a_full_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "EVERY_S", 3600)  # the end alone sends
    monkeypatch.setattr(export, "BATCH", 3)
    coming = [0, 4, 1]

    def come() -> None:
        for _ in range(coming.pop(0)):
            telemetry.tracer.start_span("later").end()

    async with collector() as kept:
        kept.meanwhile = come
        async with telling(kept.port) as telemetry:
            for _ in range(4):
                telemetry.tracer.start_span("there").end()
    assert [each.name for each in kept.spans] == ["there"] * 4 + ["later"] * 3
    assert coming == []


async def test_what_fails_in_one_signal_keeps_no_other_from_being_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "AGAIN_S", 0.02)
    broken = True

    def read() -> list[Any]:
        if broken:
            raise ValueError("broken")
        return []

    measure(Measured("mercato.tests.broken", "What cannot be read.", (), read))
    async with collector() as kept:
        async with telling(kept.port) as telemetry:
            for _ in range(2):  # the second time when metrics have failed
                telemetry.tracer.start_span("fine").end()
                telemetry.log(line("fine"))

                async def came() -> bool:
                    return bool(kept.logs and kept.spans)

                await eventually(came)
                kept.logs.clear()
                kept.spans.clear()
            assert not kept.metrics
            broken = False
            await eventually(lambda: asyncio.sleep(0, bool(kept.metrics)))
            broken = True
            telemetry.tracer.start_span("last").end()
        assert [each.name for each in kept.spans] == ["last"]
        broken = False


async def test_what_comes_while_nobody_listens_waits_and_what_has_no_room_is_dropped_and_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(export, "MOST_SPANS", 50)
    before = dropped("spans", "full")
    (port,) = ports.free_block(1)
    async with telling(port):
        with working(SAMPLED):
            for number in range(80):
                with span(f"{number}"):
                    pass
        assert dropped("spans", "full") == before + 30
        async with collector(port) as kept:

            async def came() -> bool:
                return len(kept.spans) == 50

            await eventually(came)
    assert [each.name for each in kept.spans] == [f"{number}" for number in range(50)]


async def test_who_hangs_is_not_waited_for_and_nothing_is_lost_when_it_wakes() -> None:
    async with collector() as kept, telling(kept.port):
        kept.takes.clear()
        with working(SAMPLED):
            async with asyncio.timeout(1):
                for _ in range(500):
                    with span("quick"):
                        await asyncio.sleep(0)
        kept.takes.set()

        async def came() -> bool:
            return len(kept.spans) >= 500

        await eventually(came)


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED])
async def test_what_is_refused_for_good_is_dropped_and_counted(code: grpc.StatusCode) -> None:
    before = dropped("spans", "refused")
    async with collector() as kept, telling(kept.port):
        kept.refusal = code
        with working(SAMPLED), span("bad"):
            pass

        async def counted() -> bool:
            return dropped("spans", "refused") == before + 1

        await eventually(counted)
        kept.refusal = None
        with working(SAMPLED), span("good"):
            pass

        async def came() -> bool:
            return [each.name for each in kept.spans] == ["good"]

        await eventually(came)


async def test_who_says_when_to_come_again_is_come_to_again() -> None:
    before = dropped("spans", "refused")
    busy = Overloaded(limit=1, retry_after_s=0.01)
    async with collector() as kept, telling(kept.port):
        kept.refusal, kept.trailers = grpc.StatusCode.RESOURCE_EXHAUSTED, to_trailers(busy, to_status(busy))
        with working(SAMPLED), span("patient"):
            pass
        await eventually(lambda: asyncio.sleep(0, kept.refused > 1))
        kept.refusal = None

        async def came() -> bool:
            return [each.name for each in kept.spans] == ["patient"]

        await eventually(came)
    assert dropped("spans", "refused") == before


async def test_what_cannot_be_told_is_dropped_and_counted_and_keeps_nothing_else_from_being_sent() -> None:
    before = dropped("spans", "invalid")
    names = [f"{number}" for number in range(9)]
    async with collector() as kept, telling(kept.port):
        with working(SAMPLED):
            for name in names:
                with suppress(ValueError), span(name):
                    if name in "27":
                        raise ValueError("no Unicode: \udcff")

        async def came() -> bool:
            return [each.name for each in kept.spans] == [name for name in names if name not in "27"]

        await eventually(came)
    assert dropped("spans", "invalid") == before + 2


async def test_lines_of_logs_come_from_whom_spans_come_with_the_names_of_today() -> None:
    async with collector() as kept, telling(kept.port) as telemetry:
        telemetry.log({**line("failed"), **telemetry.fields, "exception": "Traceback"})
        await eventually(lambda: asyncio.sleep(0, bool(kept.logs)))
    [told] = kept.logs
    assert told["exception.stacktrace"] == "Traceback"
    assert resource_of(telemetry.fields).items() <= told.items()
    assert told["service.namespace"] == "mercato"


async def test_a_number_too_large_for_telemetry_is_told_as_text() -> None:
    async with collector() as kept, telling(kept.port) as telemetry:
        telemetry.log({**line("large"), "count": 2**63})
        await eventually(lambda: asyncio.sleep(0, bool(kept.logs)))
    assert kept.logs[0]["count"] == "9223372036854775808"


async def test_an_end_tells_where_metrics_stand_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "METRICS_EVERY_S", 3600)
    async with collector() as kept:
        async with telling(kept.port):
            assert not kept.metrics
        assert ("shop/1", "rpc.server.call.duration") in kept.metrics


async def test_an_end_tells_the_last_of_it_and_does_not_wait_for_who_hangs() -> None:
    async with collector() as kept:
        async with telling(kept.port):
            with working(SAMPLED), span("last"):
                pass
        assert [each.name for each in kept.spans] == ["last"]
        kept.takes.clear()
        async with asyncio.timeout(export.LAST_WORDS_S + 1), telling(kept.port):
            with working(SAMPLED), span("too late"):
                pass


class Shop:
    """A service whose answers a test decides, and the calls to it, each unsampled unless it says so."""

    def __init__(self, stub: CatalogServiceStub, kept: Collector) -> None:
        self.stub = stub
        self.kept = kept
        self.failure: Exception | None = None
        self.takes_s = 0.0

    async def get(self, request: Any, context: Any) -> catalog_pb2.GetProductResponse:
        await asyncio.sleep(self.takes_s)
        logging.getLogger("tests").info("looked", extra={"request": request})
        if self.failure:
            raise self.failure
        return catalog_pb2.GetProductResponse()

    async def ask(self, trace: Trace, failure: Exception | None = None, takes_s: float = 0.0) -> list[Span]:
        """Call it; returns the spans of the trace, once there are two or it was long enough."""
        self.failure, self.takes_s = failure, takes_s
        with working(trace):
            try:
                await self.stub.GetProduct(ASK)
            except MercatoError:
                assert failure
        with working(SAMPLED), span("mark"):
            pass

        async def came() -> bool:
            return any(each.name == "mark" for each in self.kept.spans)

        await eventually(came)
        await asyncio.sleep(0)
        return [each for each in self.kept.of_trace(trace.trace_id) if each.name != "mark"]


@pytest.fixture
async def shop(stage: Stage) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        kept = await stack.enter_async_context(collector())
        stage.telemetry = await stack.enter_async_context(telling(kept.port))
        probe = Probe(CATALOG)
        before = stage.targets.get("catalog", "")
        app: App = await stage.start("catalog", serving_probes(probe))
        assert app.telemetry is stage.telemetry
        yielded = Shop(stage.stub(CATALOG, CatalogServiceStub), kept)
        probe.on("GetProduct", yielded.get)
        yield yielded
        stage.telemetry, stage.targets["catalog"] = None, before


async def test_calls_bear_the_names_of_today(shop: Shop) -> None:
    trace = Trace.start(sampled=True)
    client, server = sorted(await shop.ask(trace), key=lambda each: each.kind)
    method = "mercato.catalog.v1.CatalogService/GetProduct"
    for each in (client, server):
        assert each.name == method
        assert each.attributes["rpc.system.name"] == "grpc"
        assert each.attributes["rpc.method"] == method
        assert each.attributes["rpc.response.status_code"] == "OK"
        assert not {"rpc.system", "rpc.service", "rpc.grpc.status_code", "net.peer.ip"} & each.attributes.keys()
    assert server.attributes["mercato.caller"] == "tests"
    assert server.parent == client.id
    assert client.parent == trace.span_id


async def test_an_error_is_recorded_once_where_it_arose(shop: Shop) -> None:
    client, server = sorted(await shop.ask(Trace.start(sampled=True), ValueError("broken")), key=lambda each: each.kind)
    assert (client.failed, server.failed) == (True, True)
    assert (client.exceptions, server.exceptions) == ([], ["ValueError"])
    assert client.attributes["error.type"] == server.attributes["error.type"] == "INTERNAL"


async def test_a_refusal_is_no_fault_of_the_server(shop: Shop) -> None:
    client, server = sorted(
        await shop.ask(Trace.start(sampled=True), NotFound(name="products/1")), key=lambda each: each.kind
    )
    assert (client.failed, server.failed) == (True, False)
    assert server.exceptions == []
    assert server.attributes["rpc.response.status_code"] == "NOT_FOUND"
    assert (client.attributes["error.type"], server.attributes.get("error.type")) == ("NOT_FOUND", None)


async def test_a_call_that_is_cancelled_is_whole_too(shop: Shop) -> None:
    trace, shop.takes_s = Trace.start(sampled=True), 60
    with working(trace), suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await shop.stub.GetProduct(ASK)
    await eventually(lambda: asyncio.sleep(0, len(shop.kept.of_trace(trace.trace_id)) == 2))
    client, server = sorted(shop.kept.of_trace(trace.trace_id), key=lambda each: each.kind)
    assert (client.parent, server.parent) == (trace.span_id, client.id)
    assert client.attributes["rpc.response.status_code"] == server.attributes["rpc.response.status_code"] == "CANCELLED"


@pytest.mark.parametrize("failure", [Unavailable("away"), Internal()])
async def test_a_fault_is_told_though_it_is_not_sampled(shop: Shop, failure: MercatoError) -> None:
    trace = Trace.start()
    told = await shop.ask(trace, failure)
    assert {each.kind for each in told} == {"CLIENT", "SERVER"}  # of the server one for each attempt
    assert {each.attributes["mercato.keep"] for each in told} == {"error"}
    assert all(each.failed for each in told)
    assert {each.parent for each in told} == {trace.span_id}


async def test_a_slow_call_is_told_though_it_is_not_sampled(shop: Shop) -> None:
    [server] = await shop.ask(Trace.start(), takes_s=0.3)  # its objective is 100 ms
    assert (server.kind, server.attributes["mercato.keep"], server.failed) == ("SERVER", "slow", False)


async def test_a_call_that_is_well_and_not_sampled_tells_nothing(shop: Shop) -> None:
    assert await shop.ask(Trace.start()) == []
