"""Points of metrics: from OTLP to readings. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from enum import Enum
from itertools import islice, pairwise
from math import isfinite
from typing import NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)

from services.telemetry.otlp import LONGEST_NAME, Parts, Sender, text_of

MOST_ATTRIBUTES = 16
MOST_BUCKETS = 100
MOST_VALUES = 2**40
"""In a histogram: what never ends can be summed up for ever."""
Attributes = tuple[tuple[str, str], ...]


class Kind(Enum):
    """What the values of a metric mean."""

    COUNTER = "it grows, and begins anew with its process"
    GAUGE = "it is as it is"
    HISTOGRAM = "a counter for each range of values"


class Reading(NamedTuple):
    """A metric with one set of attributes, as it stood at one moment."""

    metric: str
    kind: Kind
    attributes: Attributes
    """By name."""
    start_ns: int
    """When it began to count; 0: it does not say."""
    time_ns: int
    value: float
    """Of a histogram how many values."""
    bounds: tuple[float, ...] = ()
    """The upper ends of its ranges but the last, which has none."""
    buckets: tuple[int, ...] = ()
    """How many values are in each range."""


class Batch(NamedTuple):
    """What a batch of metrics holds."""

    readings: list[tuple[Sender, list[Reading]]]
    rejected: Counter[str]
    """Points that are not taken, by what they are."""


def read(batch: ExportMetricsServiceRequest) -> Batch:
    """Read a batch. Only sums since a start, gauges and histograms with stated bounds are taken. TooManyParts."""
    rejected: Counter[str] = Counter()
    parts = Parts()
    readings = [
        (
            Sender.of(of_resource.resource),
            [
                reading
                for of_scope in parts.of(of_resource.scope_metrics)
                for metric in parts.of(of_scope.metrics)
                for reading in _readings(metric, parts, rejected)
            ],
        )
        for of_resource in parts.of(batch.resource_metrics)
    ]
    return Batch(readings, rejected)


def _readings(metric: Metric, parts: Parts, rejected: Counter[str]) -> Iterator[Reading]:
    which = metric.WhichOneof("data")
    if which is None:
        return
    data = getattr(metric, which)
    points = parts.of(data.data_points)
    if problem := _problem(metric, which, data):
        rejected[problem] += len(points)
        return
    if which == "histogram":
        for point in points:
            if _is_whole(point):
                yield _histogram(metric.name, point)
            else:
                rejected["histograms whose buckets do not fit to their bounds or count"] += 1
        return
    kind = Kind.COUNTER if which == "sum" and data.is_monotonic else Kind.GAUGE
    for point in points:
        reading = _number(metric.name, kind, point)
        if isfinite(reading.value):
            yield reading
        else:
            rejected["not finite"] += 1


def _problem(metric: Metric, which: str, data: object) -> str:
    if which not in ("sum", "gauge", "histogram"):
        return f"of type {which}"
    temporality = getattr(data, "aggregation_temporality", AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE)
    if temporality != AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE:
        return "not cumulative"
    if not 0 < len(metric.name) <= LONGEST_NAME or "\0" in metric.name:
        return f"without a name of up to {LONGEST_NAME} characters"
    return ""


def _is_whole(point: HistogramDataPoint) -> bool:
    bounds, buckets = point.explicit_bounds, point.bucket_counts
    return (
        len(buckets) == len(bounds) + 1 <= MOST_BUCKETS
        and all(map(isfinite, bounds))
        and all(lower < upper for lower, upper in pairwise(bounds))
        and sum(buckets) == point.count < MOST_VALUES
    )


def _histogram(name: str, point: HistogramDataPoint) -> Reading:
    return Reading(
        name,
        Kind.HISTOGRAM,
        _attributes(point),
        point.start_time_unix_nano,
        point.time_unix_nano,
        point.count,
        tuple(point.explicit_bounds),
        tuple(point.bucket_counts),
    )


def _number(name: str, kind: Kind, point: NumberDataPoint) -> Reading:
    value = point.as_double if point.WhichOneof("value") == "as_double" else point.as_int
    return Reading(name, kind, _attributes(point), point.start_time_unix_nano, point.time_unix_nano, value)


def _attributes(point: HistogramDataPoint | NumberDataPoint) -> Attributes:
    pairs = []
    for attribute in islice(point.attributes, MOST_ATTRIBUTES):
        value = attribute.value
        pairs.append((attribute.key[:LONGEST_NAME], (value.string_value or text_of(value))[:LONGEST_NAME]))
    if len(pairs) > 1:
        pairs.sort()
    return tuple(pairs)
