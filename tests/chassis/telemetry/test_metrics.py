"""Metrics under both their names: as Prometheus scrapes them, and as OTLP carries them."""

from __future__ import annotations

from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest

from chassis.telemetry import otlp
from chassis.telemetry.metrics import Measured, counter, durations, gauge, measure
from chassis.telemetry.rpc import ClientCalls, ServedCalls
from tests.collector import attributes_of

_sold = counter("tests.goods.sold", "Goods sold.", "tests.kind")
_lost = counter("tests.goods.lost", "Goods lost.", "tests.reason", "tests.kind", always={"tests.shop": "corner"})
_age = gauge("tests.oldest.age", "How old the oldest is.", unit="s")
_took = durations("tests.work.duration", "How long it took.", "tests.kind")
measure(Measured("tests.goods.read", "Goods.", ["tests.kind"], lambda: [(("mug",), 4)], grows=True))

TRACE, SPAN = "a" * 32, "b" * 16


def told() -> dict[str, Metric]:
    request = otlp.metrics({"service.name": "tests"}, 1)
    return {metric.name: metric for metric in request.resource_metrics[0].scope_metrics[0].metrics}


def test_what_grows_is_a_sum() -> None:
    _sold.labels("mug").inc(3)
    assert REGISTRY.get_sample_value("tests_goods_sold_total", {"tests_kind": "mug"}) == 3
    metric = told()["tests.goods.sold"].sum
    assert metric.is_monotonic
    assert metric.aggregation_temporality == 2  # cumulative
    [point] = metric.data_points
    assert (point.as_double, attributes_of(point.attributes)) == (3, {"tests.kind": "mug"})
    assert told()["tests.goods.read"].sum.data_points[0].as_double == 4


def test_what_is_the_same_for_all_is_told_and_what_is_empty_is_not() -> None:
    _lost.labels("", "mug").inc()
    [point] = told()["tests.goods.lost"].sum.data_points
    assert attributes_of(point.attributes) == {"tests.shop": "corner", "tests.kind": "mug"}
    labels = {"tests_reason": "", "tests_kind": "mug"}
    assert REGISTRY.get_sample_value("tests_goods_lost_total", labels) == 1


def test_what_the_conventions_require_is_told() -> None:
    ServedCalls("/tests/M").observe("OK", 0.1)
    with ClientCalls("tests").calling("/tests/M"):
        pass
    for name in ("rpc.server.call.duration", "rpc.client.call.duration"):
        for point in told()[name].histogram.data_points:
            assert {"rpc.system.name": "grpc"}.items() <= attributes_of(point.attributes).items()


def test_what_goes_up_and_down_is_a_gauge_in_its_unit() -> None:
    _age.set(1.5)
    assert REGISTRY.get_sample_value("tests_oldest_age_seconds") == 1.5
    metric = told()["tests.oldest.age"]
    assert (metric.unit, metric.gauge.data_points[0].as_double) == ("s", 1.5)


def test_durations_are_a_histogram_that_leads_to_traces() -> None:
    observe = _took.labels("mug").observe
    observe(0.004)
    observe(0.03, {"trace_id": TRACE, "span_id": SPAN})
    observe(60)
    [point] = told()["tests.work.duration"].histogram.data_points
    assert (point.count, sum(point.bucket_counts), point.bucket_counts[-1]) == (3, 3, 1)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    filled = {bound: count for bound, count in zip(point.explicit_bounds, point.bucket_counts, strict=False) if count}
    assert filled == {0.005: 1, 0.05: 1}
    [exemplar] = point.exemplars
    assert (exemplar.trace_id.hex(), exemplar.span_id.hex(), exemplar.as_double) == (TRACE, SPAN, 0.03)
    text = generate_latest(REGISTRY).decode()  # type: ignore[no-untyped-call]
    [line] = [line for line in text.splitlines() if TRACE in line]
    assert line.startswith('tests_work_duration_seconds_bucket{le="0.05",tests_kind="mug"} 2.0 # {')
    assert f'span_id="{SPAN}"' in line


def test_the_process_is_told_too() -> None:
    assert told()["process.cpu.time"].sum.data_points[0].as_double > 0
    assert told()["process.memory.usage"].gauge.data_points[0].as_double > 1e6
