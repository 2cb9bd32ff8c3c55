"""Who calls whom, who hears of what, and how the instances are, out of the metrics of the last seconds. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, islice
from typing import TypeVar

from google.protobuf.message import Message
from mercato.telemetry.v1 import telemetry_pb2 as pb

from chassis.clock import timestamp
from chassis.telemetry.rpc import CONSOLE
from services.telemetry.domain import service_of
from services.telemetry.live import GONE_S, Instance, Series
from services.telemetry.otlp import LONGEST_NAME
from services.telemetry.points import Kind
from services.telemetry.rates import Tally, by_bound

SERVED, CALLED = "rpc.server.call.duration", "rpc.client.call.duration"
METHOD, STATUS = "rpc.method", "rpc.response.status_code"
MOST_BYTES = 900 * 1024
"""Of edges, streams, methods and instances each."""
MOST_GAUGES = 200
"""That are told of an instance."""
TOGETHER = "together"
"""What tells in the name of several services that share its process."""
CALLER, CALLEE, GROUP = "mercato.caller", "mercato.callee", "messaging.consumer.group.name"

Told = TypeVar("Told", bound=Message)


def traffic(instances: Iterable[Instance], window_s: float) -> pb.GetTrafficResponse:
    """Return how it goes, over a window that ends for each instance when it was heard of last."""
    found, vitals = _Found(), []
    for instance in instances:
        since_s = instance.begin_of(window_s)
        for series in instance.series.values():
            found.take(_Seen(series, dict(series.attributes), instance.sender.service, since_s, instance.heard_s))
        vitals.append(_vitals(instance))
    response = found.response()
    vitals.sort(key=lambda it: len(it.gauges))  # where not all fit, those with much to say are left out
    response.instances.extend(sorted(_fitting(vitals), key=lambda it: (it.service, it.instance)))
    return response


@dataclass(frozen=True)
class _Seen:
    """A series over a window."""

    series: Series
    told: dict[str, str]
    """Its attributes."""
    service: str
    """Whose it is."""
    since_s: float
    until_s: float

    def __getitem__(self, attribute: str) -> str:
        return self.told.get(attribute, "")

    @property
    def rate(self) -> float:
        """Its growth in a second."""
        elapsed_s = self.until_s - self.since_s
        return self.series.growth(self.since_s).value / elapsed_s if elapsed_s else 0.0

    @property
    def buckets(self) -> dict[float, int]:
        """The growth of each bucket, by its upper bound."""
        return by_bound(self.series.bounds, self.series.growth(self.since_s).buckets)


class _Found:
    """What is found in the series of all instances."""

    def __init__(self) -> None:
        self._edges: defaultdict[tuple[str, str], pb.Edge] = defaultdict(pb.Edge)
        self._calls: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
        self._served: defaultdict[tuple[str, str], Tally] = defaultdict(Tally)
        self._streams: defaultdict[tuple[str, str], pb.Stream] = defaultdict(pb.Stream)
        self._pending: defaultdict[str, float] = defaultdict(float)
        self._lag_s: defaultdict[str, float] = defaultdict(float)
        self._takers = {
            (CALLED, Kind.HISTOGRAM): self._call,
            (SERVED, Kind.HISTOGRAM): self._serve,
            ("http.server.request.duration", Kind.HISTOGRAM): self._serve_http,
            ("mercato.client.retries", Kind.COUNTER): self._retry,
            ("mercato.client.breaker.state", Kind.GAUGE): self._break,
            ("messaging.client.consumed.messages", Kind.COUNTER): self._consume,
            ("mercato.consumer.pending", Kind.GAUGE): self._wait,
            ("mercato.consumer.lag", Kind.GAUGE): self._lag,
        }

    def take(self, seen: _Seen) -> None:
        """Take in what a series says, if it says something of traffic."""
        if taker := self._takers.get((seen.series.metric, seen.series.kind)):
            taker(seen)

    def response(self) -> pb.GetTrafficResponse:
        """Return it, each kind in the order of its names."""
        for between, tally in self._calls.items():
            self._edges[between].rates.CopyFrom(tally.rates())
        for (caller, callee), edge in self._edges.items():
            edge.caller, edge.callee = caller, callee
        for (producer, consumer), stream in self._streams.items():
            stream.producer, stream.consumer = producer, consumer
            stream.pending, stream.lag_s = self._pending[consumer], self._lag_s[consumer]
        return pb.GetTrafficResponse(
            edges=_fitting(self._edges[between] for between in sorted(self._edges)),
            streams=_fitting(self._streams[between] for between in sorted(self._streams)),
            methods=_fitting(
                pb.MethodTraffic(service=service, method=method, rates=self._served[service, method].rates())
                for service, method in sorted(self._served)
            ),
        )

    def _call(self, seen: _Seen) -> None:
        callee = service_of(seen[METHOD])
        if callee and seen[CALLER] != CONSOLE:
            self._calls[seen[CALLER] or seen.service, callee].add(seen[STATUS], seen.rate, seen.buckets)

    def _serve(self, seen: _Seen) -> None:
        """Note calls that were served, by who tells of them: the gateway counts what it passes on as well."""
        service = (seen.service == TOGETHER and service_of(seen[METHOD])) or seen.service
        self._served[service, seen[METHOD]].add(seen[STATUS], seen.rate, seen.buckets)

    def _serve_http(self, seen: _Seen) -> None:
        method = f"{seen['http.request.method']} {seen['http.route']}".strip()
        self._served[seen.service, method].add(seen["http.response.status_code"], seen.rate, seen.buckets)

    def _retry(self, seen: _Seen) -> None:
        self._edges[seen[CALLER] or seen.service, seen[CALLEE]].retries_per_second += seen.rate

    def _break(self, seen: _Seen) -> None:
        self._edges[seen[CALLER] or seen.service, seen[CALLEE]].open_breakers += seen.series.value > 0

    def _consume(self, seen: _Seen) -> None:
        stream = self._streams[service_of(seen["messaging.destination.name"]), seen[GROUP] or seen.service]
        if seen["error.type"]:
            stream.failures_per_second += seen.rate
        else:
            stream.events_per_second += seen.rate

    def _wait(self, seen: _Seen) -> None:
        """Note what waits for a group; each of its instances is told the same."""
        group = seen[GROUP] or seen.service
        self._pending[group] = max(self._pending[group], seen.series.value)

    def _lag(self, seen: _Seen) -> None:
        group = seen[GROUP] or seen.service
        self._lag_s[group] = max(self._lag_s[group], seen.series.value)


def _vitals(instance: Instance) -> pb.InstanceVitals:
    gauges = (
        series
        for series in instance.series.values()
        if series.kind is Kind.GAUGE and series.heard_s > instance.heard_s - GONE_S
    )
    told = {_name(series)[:LONGEST_NAME]: series.value for series in islice(gauges, MOST_GAUGES)}
    service, name, version = instance.sender
    heard = timestamp(datetime.fromtimestamp(instance.heard_s, UTC))
    return pb.InstanceVitals(service=service, instance=name, version=version, gauges=told, update_time=heard)


def _fitting(items: Iterable[Told]) -> list[Told]:
    """Return the first that fit, so that all that is told fits into a message."""
    found = list(items)
    totals = accumulate(item.ByteSize() for item in found)
    return [item for item, total in zip(found, totals, strict=True) if total <= MOST_BYTES]


def _name(series: Series) -> str:
    attributes = ",".join(f"{name}={value}" for name, value in series.attributes)
    return f"{series.metric}{{{attributes}}}" if attributes else series.metric
