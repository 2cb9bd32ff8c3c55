"""What comes in is bounded: what is not valid, too large or too much is cut or dropped, and all of it is counted."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from chassis import tasks
from chassis.clock import SystemClock
from chassis.settings import InvalidSetting
from services.telemetry import spans
from services.telemetry.intake import Queue, Signal, Writer
from services.telemetry.options import Options
from tests.chassis.engines import postgres_engine
from tests.stage import Stage, eventually
from tests.telemetry.support import (
    CALLS,
    CUMULATIVE,
    MS,
    Telemetry,
    histogram,
    logs_of,
    metrics_of,
    name_of,
    new_trace_id,
    record,
    span,
)

GET = "mercato.shipping.v1.ShippingService/GetShipment"


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


async def test_spans_whose_ids_or_times_cannot_be_are_named_and_counted(telemetry: Telemetry) -> None:
    trace_id, before = new_trace_id(), (await telemetry.signal("spans")).dropped["invalid"]
    bad = [
        span(b"short"),
        span(bytes(16)),
        span(trace_id, span_id=b"short"),
        span(trace_id, span_id=bytes(8)),
        span(trace_id, parent_span_id=b"short"),
        span(trace_id, start_ns=2**64 - 20 * MS),
        span(trace_id, start_ns=time.time_ns() + 7200 * 1000 * MS),
        Span(trace_id=trace_id, span_id=b"12345678"),
    ]
    answer = await telemetry.send("orders", *bad, span(trace_id, "good"))
    assert answer.partial_success.rejected_spans == len(bad)
    assert "8 whose ids are not 16 bytes for a trace and 8 for a span" in answer.partial_success.error_message
    assert [it.name for it in (await telemetry.trace(trace_id)).spans] == ["good"]
    assert (await telemetry.signal("spans")).dropped["invalid"] - before == len(bad)


async def test_logs_whose_ids_cannot_be_are_counted(telemetry: Telemetry) -> None:
    answer = await telemetry.logs(logs_of("orders", record("bad", trace_id=b"short"), record("good")))
    assert answer.partial_success.rejected_log_records == 1
    assert (await telemetry.signal("logs")).dropped["invalid"] == 1


async def test_what_is_too_large_is_cut_and_counted(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    large = span(
        trace_id, "n" * 9000, of={f"a{number:03}": "x" * (9000 if number == 0 else 9) for number in range(100)}
    )
    for _ in range(40):
        large.events.add(name="tick", time_unix_nano=large.start_time_unix_nano)
    await telemetry.send("orders", large, span(trace_id, "null\x00", of={"\x00": "\x00"}))
    spans = sorted((await telemetry.trace(trace_id, 2)).spans, key=lambda it: it.name)
    cut, other = spans
    assert (len(cut.name), len(cut.attributes), len(cut.attributes["a000"]), len(cut.events)) == (300, 65, 4000, 32)
    assert cut.attributes["otel.dropped_attributes_count"] == str(100 - 64 + 1 + 40 - 32)
    assert (other.name, dict(other.attributes)) == ("null", {"\x00": "\x00"})
    assert (await telemetry.signal("spans")).dropped["attributes"] == 100 - 64 + 1 + 40 - 32


async def test_what_says_that_it_lost_as_much_as_can_be_said_is_cut_too(telemetry: Telemetry) -> None:
    trace_id, most = new_trace_id(), 2**32 - 1
    of = {f"a{number:03}": "x" * 90 for number in range(100)}
    lost = span(trace_id, of=of, dropped_attributes_count=most, dropped_events_count=most, dropped_links_count=most)
    for _ in range(40):
        lost.events.add(), lost.links.add()
    await telemetry.send("orders", lost, span(trace_id))
    assert len((await telemetry.trace(trace_id, 2)).spans) == 2
    assert not (await telemetry.logs(logs_of("orders", record("a", of, dropped_attributes_count=most)))).HasField(
        "partial_success"
    )


async def test_what_is_large_in_many_small_parts_is_cut_as_a_whole(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    large = span(trace_id)
    for number in range(60):
        large.attributes.add(key=f"a{number:02}").value.bytes_value = b"\xff" * 3900
        large.events.add(name="e" * 3000).attributes.extend(large.attributes[:1])
        large.links.add(trace_id=trace_id, span_id=large.span_id, trace_state="s" * 3000)
    large.MergeFromString(b"\xfa\x7f\xff\xff\x03" + b"?" * 0xFFFF)  # a field that nobody knows
    records = [record("m", {f"a{number:02}": "\x01" * 3900 for number in range(60)}, trace_id=trace_id)]
    await telemetry.send("orders", large)
    await telemetry.logs(logs_of("orders", *records))
    [told] = (await telemetry.trace(trace_id)).spans
    assert "a00" in told.attributes
    assert told.ByteSize() < 100_000
    assert told.events
    assert told.links
    [line] = await telemetry.logged(name_of(trace_id))
    assert line.ByteSize() < 100_000


async def test_a_batch_may_be_four_megabytes_and_not_more(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    large = [span(trace_id, of={"a": "x" * 3800}) for _ in range(1000)]
    await telemetry.send("orders", *large)
    trace = await telemetry.trace(trace_id, 1000)
    assert 500 < len(trace.spans) < 1000, "as many as fit into an answer"
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await telemetry.send("orders", *large, *large)
    assert error.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_others_are_served_while_a_large_batch_is_read(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, read, trace_id = threading.Event(), spans.read, new_trace_id()

    def reading(batch: ExportTraceServiceRequest, now_ns: int) -> spans.Reading:
        assert served.wait(5)
        return read(batch, now_ns)

    async def serve_another() -> None:
        await telemetry.signal("spans")
        served.set()

    monkeypatch.setattr(spans, "read", reading)
    large = (span(trace_id, of={"a": "x" * 3000}) for _ in range(100))
    await asyncio.gather(telemetry.send("orders", *large), serve_another())
    await telemetry.trace(trace_id, 100)


async def test_a_batch_of_very_many_parts_is_refused(telemetry: Telemetry) -> None:
    batches: Any = (
        (telemetry.spans, ExportTraceServiceRequest(resource_spans=[ResourceSpans()] * 100_001)),
        (telemetry.logs, logs_of("orders", *([LogRecord()] * 100_001))),
        (telemetry.metrics, metrics_of("orders/1", *([Metric()] * 100_001))),
    )
    for export, batch in batches:
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await export(batch)
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_trace_that_grows_for_ever_is_cut_off(telemetry: Telemetry) -> None:
    trace_id, before = new_trace_id(), (await telemetry.signal("spans")).dropped["full"]
    for _ in range(5):
        await telemetry.send("orders", *(span(trace_id) for _ in range(2000)))
    await telemetry.trace(trace_id, 10_000)
    await telemetry.send("orders", span(trace_id))

    async def dropped() -> bool:
        return (await telemetry.signal("spans")).dropped["full"] - before == 1

    await eventually(dropped)


def test_a_full_queue_drops_what_comes_and_counts_it_at_once() -> None:
    queue: Queue[bytes] = Queue(Signal("spans"), len, most_rows=3)
    assert queue.put([b"1", b"2"]) == 0
    assert queue.put([b"3", b"4", b"5"]) == 2
    assert queue.first(10) == [b"1", b"2", b"3"]
    assert queue.signal.dropped == {"full": 2}
    queue.remove(2)
    assert queue.put([b"6"]) == 0
    heavy: Queue[int] = Queue(Signal("spans"), lambda row: row)
    assert heavy.put([2**40]) == 0
    assert heavy.put([1]) == 1, "so many bytes are enough, however few the rows"


async def test_what_cannot_be_stored_keeps_nothing_else_from_it() -> None:
    queue: Queue[int] = Queue(Signal("spans"), lambda row: row)
    written: list[int] = []

    async def write(rows: list[int]) -> int:
        if 13 in rows:
            raise asyncpg.CharacterNotInRepertoireError("no")
        written.extend(rows)
        return len(rows)

    sent = [13 if number in (0, 700, 701, 2999) else 10_000 + number for number in range(3000)]
    queue.put(sent)
    await Writer(queue, write, SystemClock()).write()
    assert written == [number for number in sent if number != 13]
    assert (queue.signal.accepted, queue.signal.dropped) == (2996, {"invalid": 4})


async def test_while_the_database_is_away_nothing_is_lost_within_the_bound(stage: Stage, tmp_path: Path) -> None:
    async with postgres_engine(tmp_path) as engine:
        telemetry = await Telemetry.open(stage, database_url=engine.url)
        before, meanwhile = new_trace_id(), [new_trace_id() for _ in range(3)]
        await telemetry.send("orders", span(before))
        await telemetry.trace(before)
        await engine.kill()
        for trace_id in meanwhile:
            assert not (await telemetry.send("orders", span(trace_id))).HasField("partial_success")
        await telemetry.logs(logs_of("orders", record("meanwhile")))
        batches = [[span(trace_id) for _ in range(5000)] for trace_id in (new_trace_id() for _ in range(4))]
        too_many = [await telemetry.send("orders", *batch) for batch in batches]
        assert sum(answer.partial_success.rejected_spans for answer in too_many) == 3, "the bound is 20000"
        assert "3 for which there is no room" in too_many[-1].partial_success.error_message
        await engine.start()
        for trace_id in (before, *meanwhile):
            assert (await telemetry.trace(trace_id)).name == name_of(trace_id)
        await telemetry.stored("logs", 1)
        await telemetry.stored("spans", 20_001)
        assert (await telemetry.signal("spans")).dropped == {"full": 3}


async def test_what_was_taken_is_stored_at_the_end_however_long_that_takes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "CANCEL_AGAIN_S", 0.01)
    telemetry = await Telemetry.open(stage, grace_s=10.0)
    database = await asyncpg.connect(telemetry.app.settings.database_url)
    holding = database.transaction()
    await holding.start()
    await database.execute("LOCK spans, calls_by_minute")
    for calls in (1, 3):
        told = histogram(CALLS, {0.1: calls}, rpc__method=GET, rpc__response__status_code="OK")
        await telemetry.metrics(metrics_of("orders/1", told))
        telemetry.clock.advance(2)
    await telemetry.send("orders", *(span(new_trace_id()) for _ in range(3000)))
    await telemetry.app.drain()
    resting = asyncio.create_task(telemetry.app.rest())
    await asyncio.wait([resting], timeout=0.2)
    await holding.commit()
    await resting
    assert await database.fetchval("SELECT count(*) FROM spans") == 3000
    assert await database.fetchval("SELECT sum(calls) FROM calls_by_minute") == 2
    await database.close()


async def test_what_is_left_at_the_end_is_counted() -> None:
    queue: Queue[int] = Queue(Signal("spans"), lambda row: row)

    async def hang(rows: list[int]) -> int:
        return await asyncio.get_running_loop().create_future() or len(rows)

    queue.put([1, 2])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await Writer(queue, hang, SystemClock()).finish()
    assert queue.signal.dropped == {"ended": 2}


async def test_what_is_no_metric_of_ours_is_named_and_counted(telemetry: Telemetry) -> None:
    request = metrics_of("orders/1")
    of_scope = request.resource_metrics[0].scope_metrics[0]
    of_scope.metrics.add(name="a").exponential_histogram.data_points.add()
    of_scope.metrics.add(name="b").summary.data_points.add()
    delta = of_scope.metrics.add(name="c").sum
    delta.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    delta.data_points.add()
    of_scope.metrics.add(name="").gauge.data_points.add()
    odd = of_scope.metrics.add(name="d").histogram
    odd.aggregation_temporality = CUMULATIVE
    for point in (
        {"count": 1, "bucket_counts": [1], "explicit_bounds": [1.0]},
        {"count": 2, "bucket_counts": [1, 0], "explicit_bounds": [1.0]},
        {"count": 3, "bucket_counts": [1, 1, 1], "explicit_bounds": [2.0, 1.0]},
        {"count": 2**63, "bucket_counts": [2**63, 0], "explicit_bounds": [1.0]},
        {"count": 3, "bucket_counts": [1, 1, 1], "explicit_bounds": [1.0, 1.0]},
        {"count": 2, "bucket_counts": [1, 1], "explicit_bounds": [math.inf]},
        {"count": 2, "bucket_counts": [1, 1], "explicit_bounds": [-math.inf]},
        {"count": 2, "bucket_counts": [1, 1], "explicit_bounds": [math.nan]},
    ):
        odd.data_points.add(**point)
    for endless in (math.inf, math.nan):
        of_scope.metrics.add(name="e").gauge.data_points.add(as_double=endless)
    answer = await telemetry.metrics(request)
    assert answer.partial_success.rejected_data_points == 14
    for named in (
        "1 of type exponential_histogram",
        "1 of type summary",
        "1 not cumulative",
        "8 histograms whose",
        "2 not finite",
    ):
        assert named in answer.partial_success.error_message
    assert (await telemetry.signal("points")).dropped == {"invalid": 14}


@pytest.mark.parametrize(
    ("name", "bad"),
    [("keep_ratio", "2"), ("keep_ratio", "nan"), ("retention_h", "0"), ("max_spans", "many"), ("max_logs", "0")],
)
def test_a_setting_that_cannot_be_is_named(name: str, bad: str) -> None:
    with pytest.raises(InvalidSetting) as error:
        Options.of({name: bad})
    assert error.value.data["variable"] == f"MERCATO_TELEMETRY_{name.upper()}"
