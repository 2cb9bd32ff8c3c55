"""What is sent as log records can be read, the newest first."""

from __future__ import annotations

import time
from typing import Any

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb

from chassis.errors import InvalidArgument
from tests.stage import Stage
from tests.telemetry.support import Telemetry, logs_of, name_of, new_trace_id, record

TRACE = new_trace_id()


@pytest.fixture(scope="module", name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    """Four records are there."""
    telemetry, now_ns = await Telemetry.open(stage), time.time_ns()
    orders = [
        record(
            "first", time_unix_nano=now_ns, trace_id=TRACE, span_id=b"12345678", of={"caller": "gateway", "ms": 1.5}
        ),
        record("second", time_unix_nano=now_ns + 1, severity_number=5),
        record("third", time_unix_nano=now_ns + 1, severity_number=13, trace_id=TRACE),
    ]
    await telemetry.logs(logs_of("orders", *orders))
    await telemetry.logs(logs_of("payments", record("fourth\x00", time_unix_nano=now_ns + 2, severity_number=17)))
    await telemetry.stored("logs", 4)
    return telemetry


async def messages(telemetry: Telemetry, **of: Any) -> list[str]:
    return [record.message for record in (await telemetry.queries.ListLogs(pb.ListLogsRequest(**of))).logs]


async def test_a_record_is_told_with_all_it_says(telemetry: Telemetry) -> None:
    logs = (await telemetry.queries.ListLogs(pb.ListLogsRequest(service="orders"))).logs
    first = logs[-1]
    assert (first.message, first.severity, first.service, first.instance) == (
        "first", pb.SEVERITY_INFO, "orders", "orders/1"
    )  # fmt: skip
    assert (first.trace, first.span_id) == (name_of(TRACE), b"12345678".hex())
    assert dict(first.attributes) == {"caller": "gateway", "ms": "1.5"}
    assert [log.severity for log in logs] == [pb.SEVERITY_WARNING, pb.SEVERITY_DEBUG, pb.SEVERITY_INFO]
    assert logs[0].time.ToNanoseconds() == first.time.ToNanoseconds() + 1


async def test_records_are_found_by_trace_service_and_severity(telemetry: Telemetry) -> None:
    assert await messages(telemetry) == ["fourth\x00", "third", "second", "first"]
    assert await messages(telemetry, trace=name_of(TRACE)) == ["third", "first"]
    assert await messages(telemetry, service="payments") == ["fourth\x00"]
    assert await messages(telemetry, min_severity=pb.SEVERITY_WARNING) == ["fourth\x00", "third"]
    assert await messages(telemetry, service="orders", min_severity=pb.SEVERITY_ERROR) == []


async def test_pages_go_on_where_the_one_before_ended(telemetry: Telemetry) -> None:
    found, token = [], ""
    for _ in range(4):
        page = await telemetry.queries.ListLogs(pb.ListLogsRequest(page_size=1, page_token=token))
        found += [log.message for log in page.logs]
        token = page.next_page_token
    assert (found, token) == (["fourth\x00", "third", "second", "first"], "")
    for bad, field in ({"page_token": "x/y"}, "page_token"), ({"trace": "traces/xyz"}, "trace"):
        with pytest.raises(InvalidArgument) as error:
            await messages(telemetry, **bad)
        assert list(error.value.fields) == [field]
