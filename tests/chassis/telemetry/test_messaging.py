"""Events on their way over the bus, as telemetry has them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import REGISTRY

from chassis.bus import Event
from chassis.nats import BusUnavailable
from chassis.settings import Settings
from chassis.telemetry import otlp
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.messaging import Processing, sending
from chassis.telemetry.trace import Trace
from tests.collector import attributes_of

SAMPLED, UNSAMPLED = Trace.start(sampled=True), Trace.start()


@pytest.fixture
def told() -> list[Any]:
    """The spans that are told in the name of this test."""
    spans: list[Any] = []
    exporter: Any = SimpleNamespace(spans=SimpleNamespace(put=spans.append))
    Telemetry(Settings("shop", "shop/1"), [exporter]).tell()
    return spans


def event(trace: Trace) -> Event:
    return Event("goods/1/1", "shop", "tests.Sold", "goods/1", datetime.now(UTC), trace.traceparent, b"")


def counted() -> float:
    labels = {"messaging_destination_name": "tests.Sold"}
    return REGISTRY.get_sample_value("messaging_client_sent_messages_total", labels) or 0.0


def test_what_is_sent_names_its_span_to_who_handles_it(told: list[Any]) -> None:
    before = counted()
    with sending([event(SAMPLED), event(UNSAMPLED)]) as sent:
        pass
    [span] = told
    traced, untraced = (Trace.parse(each.trace) for each in sent)
    assert traced
    assert (int(traced.trace_id, 16), int(traced.span_id, 16)) == (span.context.trace_id, span.context.span_id)
    assert traced.trace_id == SAMPLED.trace_id
    assert untraced == UNSAMPLED
    assert counted() == before + 2


def test_what_the_bus_did_not_take_is_no_span_as_it_is_tried_for_as_long_as_the_bus_is_away(told: list[Any]) -> None:
    before = counted()
    for _ in range(3):
        with pytest.raises(BusUnavailable), sending([event(SAMPLED)]):
            raise BusUnavailable
    assert (told, counted()) == ([], before)


def test_an_event_names_the_same_span_in_each_try_as_the_bus_may_keep_that_of_one_whose_answer_was_lost(
    told: list[Any],
) -> None:
    once = event(SAMPLED)
    with suppress(BusUnavailable), sending([once]) as taken:
        raise BusUnavailable
    with sending([once]) as sent:
        pass
    assert taken == sent
    [span] = told
    assert Trace.parse(taken[0].trace) == Trace(SAMPLED.trace_id, f"{span.context.span_id:016x}", sampled=True)
    assert f"{span.parent.span_id:016x}" == SAMPLED.span_id


def test_how_an_event_was_handled_is_counted_by_what_failed_and_what_comes_of_that() -> None:
    handled, failed, buried = (Processing(event(UNSAMPLED), "counting") for _ in range(3))
    handled.done()
    failed.failed(BusUnavailable(), "retry")
    buried.failed(ValueError("bad"), "dead_letter")
    request = otlp.metrics({}, 1)
    [metric] = [
        metric
        for metric in request.resource_metrics[0].scope_metrics[0].metrics
        if metric.name == "messaging.client.consumed.messages"
    ]
    of_all = {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.consumer.group.name": "counting",
        "messaging.destination.name": "tests.Sold",
    }
    told = [attributes_of(point.attributes) for point in metric.sum.data_points]
    assert [each for each in told if each["messaging.consumer.group.name"] == "counting"] == [
        of_all,
        {**of_all, "error.type": BusUnavailable().reason, "mercato.outcome": "retry"},
        {**of_all, "error.type": "ValueError", "mercato.outcome": "dead_letter"},
    ]
