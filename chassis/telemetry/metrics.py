"""Metrics, declared by their OpenTelemetry names; the names that Prometheus scrapes follow from those.

`rpc.server.call.duration` in seconds is `rpc_server_call_duration_seconds` there, its attribute `rpc.method` the label
`rpc_method`: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/. What counts is
prometheus_client, which costs a call a microsecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

SECONDS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

_SUFFIXES = {"": "", "s": "_seconds", "By": "_bytes"}


class Declared(NamedTuple):
    """A metric as OpenTelemetry names it."""

    name: str
    unit: str
    attributes: Mapping[str, str]
    """Their names by Prometheus' labels."""
    always: Mapping[str, str]
    """Further attributes, the same for all and so of no use to Prometheus: told as OTLP alone."""


_declared: dict[str, Declared] = {  # beside prometheus_client's registry, which has one for the process too
    "process_cpu_seconds": Declared("process.cpu.time", "s", {}, {}),
    "process_resident_memory_bytes": Declared("process.memory.usage", "By", {}, {}),
}

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each: nobody reads them


def counter(name: str, description: str, *attributes: str, always: Mapping[str, str] | None = None) -> Counter:
    """Declare what only grows."""
    return Counter(_declare(name, "", attributes, always), description, _labels(attributes))


def gauge(name: str, description: str, *attributes: str, unit: str = "") -> Gauge:
    """Declare what goes up and down."""
    return Gauge(_declare(name, unit, attributes), description, _labels(attributes))


def durations(name: str, description: str, *attributes: str, always: Mapping[str, str] | None = None) -> Histogram:
    """Declare how long something takes, in seconds."""
    return Histogram(_declare(name, "s", attributes, always), description, _labels(attributes), buckets=SECONDS_BUCKETS)


class Measured(NamedTuple):
    """What is read when somebody asks, so that no call pays for it: a value for each set of attributes."""

    name: str
    description: str
    attributes: Sequence[str]
    read: Callable[[], Iterable[tuple[Sequence[str], float]]]
    unit: str = ""
    grows: bool = False


def measure(*metrics: Measured) -> None:
    """Declare metrics that are read when somebody asks."""
    for metric in metrics:
        _declare(metric.name, metric.unit, metric.attributes)
    REGISTRY.register(_Reader(metrics))


def declared() -> Iterator[tuple[Declared, Metric]]:
    """Yield all that is declared here, as it stands."""
    for family in REGISTRY.collect():
        if known := _declared.get(family.name):
            yield known, family


class _Reader(Collector):
    def __init__(self, metrics: Sequence[Measured]) -> None:
        self._metrics = metrics

    def describe(self) -> list[Metric]:
        """Say nothing before it is asked."""
        return []

    def collect(self) -> Iterator[Metric]:
        for metric in self._metrics:
            kind = CounterMetricFamily if metric.grows else GaugeMetricFamily
            family = kind(_family(metric.name, metric.unit), metric.description, labels=_labels(metric.attributes))
            for values, value in metric.read():
                family.add_metric(values, value)
            yield family


def _declare(name: str, unit: str, attributes: Iterable[str], always: Mapping[str, str] | None = None) -> str:
    attributes = list(attributes)
    family = _family(name, unit)
    _declared[family] = Declared(name, unit, dict(zip(_labels(attributes), attributes, strict=True)), always or {})
    return family


def _family(name: str, unit: str) -> str:
    return name.replace(".", "_") + _SUFFIXES[unit]


def _labels(attributes: Iterable[str]) -> list[str]:
    return [attribute.replace(".", "_") for attribute in attributes]
