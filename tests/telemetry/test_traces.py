"""What is sent as spans can be read as traces."""

from __future__ import annotations

import time
from typing import Any

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb

from chassis.errors import InvalidArgument
from tests.stage import Stage
from tests.telemetry.support import MS, SERVER, Telemetry, name_of, new_trace_id, span, value


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


async def test_a_trace_is_read_with_the_spans_of_all_services(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    root = span(trace_id, "POST /v1/orders", ms=30, kind=SERVER)
    start_ns = root.start_time_unix_nano
    called = span(
        trace_id, "PlaceOrder", parent_span_id=root.span_id, start_ns=start_ns + MS, failed=True,
        of={"mercato.subject": "orders/o1", "rpc.retries": 2, "sampled": True},
    )  # fmt: skip
    called.events.add(name="exception", time_unix_nano=start_ns + 2 * MS)
    called.links.add(trace_id=trace_id, span_id=root.span_id)
    await telemetry.send("orders", called)  # the later one first
    await telemetry.send("gateway", root)
    trace = await telemetry.trace(trace_id, 2)
    assert (trace.root, trace.service, list(trace.services)) == ("POST /v1/orders", "gateway", ["gateway", "orders"])
    assert (trace.span_count, trace.error_count, list(trace.subjects)) == (2, 1, ["orders/o1"])
    assert (trace.start_time.ToNanoseconds(), trace.duration.ToMilliseconds()) == (start_ns, 30)
    assert trace.keep == pb.Trace.KEEP_UNDECIDED
    first, second = trace.spans
    assert (first.id, first.parent_id, first.kind) == (root.span_id.hex(), "", pb.Span.KIND_SERVER)
    assert (second.parent_id, second.service, second.instance, second.version) == (first.id, "orders", "orders/1", "v1")
    assert (second.failed, second.status_message) == (True, "it broke")
    assert dict(second.attributes) == {"mercato.subject": "orders/o1", "rpc.retries": "2", "sampled": "true"}
    assert [(event.name, event.time.ToNanoseconds()) for event in second.events] == [("exception", start_ns + 2 * MS)]
    assert [(link.trace, link.span_id) for link in second.links] == [(trace.name, first.id)]


async def test_without_the_span_it_began_with_the_earliest_stands_for_it(telemetry: Telemetry) -> None:
    trace_id, start_ns = new_trace_id(), time.time_ns()
    later = span(trace_id, "later", parent_span_id=b"absent00", start_ns=start_ns + MS)
    await telemetry.send("orders", later, span(trace_id, "earlier", parent_span_id=b"absent00", start_ns=start_ns))
    assert (await telemetry.trace(trace_id, 2)).root == "earlier"


async def test_a_span_that_is_sent_again_is_there_once(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    once, other = span(trace_id, failed=True), span(trace_id)
    await telemetry.send("orders", once)
    await telemetry.send("orders", once, other)
    trace = await telemetry.trace(trace_id, 2)
    assert (trace.span_count, trace.error_count, len(trace.spans)) == (2, 1, 2)


async def test_values_of_every_kind_are_told_as_text(telemetry: Telemetry) -> None:
    trace_id = new_trace_id()
    one = span(trace_id, of={"half": 0.5})
    listed, mapped, raw = (one.attributes.add(key=key).value for key in ("list", "map", "bytes"))
    listed.array_value.values.extend([value("a"), value(1)])
    mapped.kvlist_value.values.add(key="b", value=value(False))
    raw.bytes_value = b"\x00\xff"
    one.attributes.add(key="nothing")
    await telemetry.send("orders", one)
    [told] = (await telemetry.trace(trace_id)).spans
    assert dict(told.attributes) == {
        "half": "0.5", "list": '["a",1]', "map": '{"b":false}', "bytes": "00ff", "nothing": "",
    }  # fmt: skip


async def test_a_trace_that_nobody_sent_is_not_found(telemetry: Telemetry) -> None:
    assert await telemetry.find(new_trace_id()) is None
    with pytest.raises(InvalidArgument) as error:
        await telemetry.queries.GetTrace(pb.GetTraceRequest(name="traces/1"))
    assert list(error.value.fields) == ["name"]


async def names(telemetry: Telemetry, **of: Any) -> list[str]:
    return [trace.name for trace in (await telemetry.queries.ListTraces(pb.ListTracesRequest(**of))).traces]


async def test_traces_are_listed_by_what_they_are_about(telemetry: Telemetry) -> None:
    fast, slow = new_trace_id(), new_trace_id()
    subject = name_of(fast)  # nobody else's
    await telemetry.send("shipping", span(fast, "Quote", of={"mercato.subject": subject}))
    await telemetry.send("shipping", span(slow, "Book", ms=4000, of={"mercato.subject": subject}))
    await telemetry.trace(fast)
    await telemetry.trace(slow)
    ours = [name_of(fast), name_of(slow)]
    assert await names(telemetry, subject=subject) == ours, "the newest first"
    assert await names(telemetry, subject=subject, span_name="Book") == ours[1:]
    assert await names(telemetry, subject=subject, min_duration={"seconds": 1}) == ours[1:]
    assert await names(telemetry, subject=subject, min_duration={"seconds": 315_576_000_000}) == []
    assert set(ours) <= set(await names(telemetry, service="shipping", keep=pb.Trace.KEEP_UNDECIDED))
    assert await names(telemetry, subject=subject, service="orders") == []
    assert await names(telemetry, subject=subject, keep=pb.Trace.KEEP_ERROR) == []


async def test_pages_go_on_where_the_one_before_ended(telemetry: Telemetry) -> None:
    ids, start_ns = [new_trace_id() for _ in range(5)], time.time_ns()
    for trace_id in ids:  # two at a time begin at once
        await telemetry.send("pages", span(trace_id, start_ns=start_ns + MS * (ids.index(trace_id) // 2)))
        await telemetry.trace(trace_id)
    found, token = [], ""
    while True:
        request = pb.ListTracesRequest(service="pages", page_size=2, page_token=token)
        page = await telemetry.queries.ListTraces(request)
        assert not any(trace.spans for trace in page.traces)
        found += [trace.name for trace in page.traces]
        token = page.next_page_token
        if not token:
            break
    assert sorted(found) == sorted(map(name_of, ids))
    with pytest.raises(InvalidArgument) as error:
        await telemetry.queries.ListTraces(pb.ListTracesRequest(page_token="x"))
    assert list(error.value.fields) == ["page_token"]
