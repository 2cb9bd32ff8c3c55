"""What is sent as spans can be read as traces."""

from __future__ import annotations

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from chassis.errors import InvalidArgument, NotFound
from tests.stage import Stage
from tests.telemetry.support import MS, Telemetry, new_trace_id, span


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


async def test_a_trace_is_read_with_the_spans_of_all_services(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    root = span(trace_id, "POST /v1/orders", ms=30, kind=Span.SPAN_KIND_SERVER, of={"http.route": "/v1/orders"})
    start = root.start_time_unix_nano
    called = span(trace_id, "PlaceOrder", parent=root.span_id, start_time_unix_nano=start + MS, failed=True,
                  of={"mercato.subject": "orders/o1", "rpc.retries": 2, "sampled": True})  # fmt: skip
    called.events.add(name="exception", time_unix_nano=start + 2 * MS)
    called.links.add(trace_id=trace_id, span_id=root.span_id)
    await telemetry.send("orders", called)  # the later one first
    await telemetry.send("gateway", root)
    trace = await telemetry.trace(trace_id, 2)
    assert (trace.root, trace.service, list(trace.services)) == ("POST /v1/orders", "gateway", ["gateway", "orders"])
    assert (trace.span_count, trace.error_count, list(trace.subjects)) == (2, 1, ["orders/o1"])
    assert (trace.start_time.ToNanoseconds(), trace.duration.ToMilliseconds()) == (start, 30)
    assert trace.keep == pb.Trace.KEEP_UNDECIDED
    first, second = trace.spans
    assert (first.id, first.parent_id, first.kind) == (root.span_id.hex(), "", pb.Span.KIND_SERVER)
    assert (second.parent_id, second.service, second.instance, second.version) == (first.id, "orders", "orders/1", "v1")
    assert (second.failed, second.status_message) == (True, "it broke")
    assert dict(second.attributes) == {"mercato.subject": "orders/o1", "rpc.retries": "2", "sampled": "true"}
    assert [(event.name, event.time.ToNanoseconds()) for event in second.events] == [("exception", start + 2 * MS)]
    assert [(link.trace, link.span_id) for link in second.links] == [(trace.name, first.id)]


async def test_a_trace_that_nobody_sent_is_not_found(telemetry: Telemetry) -> None:
    with pytest.raises(NotFound):
        await telemetry.queries.GetTrace(pb.GetTraceRequest(name=f"traces/{new_trace_id().hex()}"))
    with pytest.raises(InvalidArgument) as error:
        await telemetry.queries.GetTrace(pb.GetTraceRequest(name="traces/1"))
    assert list(error.value.fields) == ["name"]
