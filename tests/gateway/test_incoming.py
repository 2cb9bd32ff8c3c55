"""Which requests from outside are recorded: as many as the gateway's own sampler says, whatever clients ask for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.trace import Trace
from services.gateway.incoming import Incoming


@pytest.fixture
def told() -> list[Any]:
    """The spans that are told in the name of this test."""
    return []


@pytest.fixture
def telemetry(told: list[Any]) -> Telemetry:
    """Records as good as three traces, and then none for long."""
    exporter: Any = SimpleNamespace(spans=SimpleNamespace(put=told.append))
    return Telemetry(Settings("gateway", "gateway/1", traces_per_second=3), [exporter])


def ask(telemetry: Telemetry, parent: Trace | None) -> Trace:
    incoming = Incoming(telemetry, "GET", parent)
    incoming.end("GET /v1/orders", "", {})
    return incoming.trace


def test_who_asks_for_each_trace_to_be_recorded_gets_no_more_than_others(telemetry: Telemetry, told: list[Any]) -> None:
    parents = [Trace.start(sampled=True) for _ in range(300)]
    traces = [ask(telemetry, parent) for parent in parents]
    assert [trace.trace_id for trace in traces] == [parent.trace_id for parent in parents]
    assert 3 <= sum(trace.sampled for trace in traces) <= 10
    assert len(told) == sum(trace.sampled for trace in traces)
    assert f"{told[0].parent.span_id:016x}" == parents[0].span_id


def test_who_asks_for_no_record_gets_none(telemetry: Telemetry, told: list[Any]) -> None:
    parent = Trace.start()
    trace = ask(telemetry, parent)
    assert (trace.trace_id, trace.sampled, told) == (parent.trace_id, False, [])


def test_who_names_no_trace_gets_one(telemetry: Telemetry, told: list[Any]) -> None:
    assert ask(telemetry, None).sampled
    assert len(told) == 1
