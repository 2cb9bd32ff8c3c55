"""What tests of telemetry share: the service on stage, a clock to set forward, and OTLP made by hand."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any

import grpc
from mercato.telemetry.v1 import telemetry_pb2 as pb
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from chassis.app import App
from chassis.clock import SystemClock
from chassis.errors import NotFound
from fleet import ports
from tests.stage import Stage, eventually

SERVICE = pb.DESCRIPTOR.services_by_name["TelemetryService"]
MS = 1_000_000
"""Nanoseconds."""
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
SERVER = Span.SPAN_KIND_SERVER
CALLS, SERVED = "rpc.client.call.duration", "rpc.server.call.duration"


class AheadClock(SystemClock):
    """The real time, which a test may set forward: who sleeps until then wakes."""

    def __init__(self) -> None:
        self._ahead = timedelta()
        self._moved = asyncio.Event()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)
        self._moved.set()
        self._moved = asyncio.Event()

    async def sleep(self, delay_s: float) -> None:
        until = self.now() + timedelta(seconds=delay_s)
        while (left_s := (until - self.now()).total_seconds()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._moved.wait()


@dataclass
class Telemetry:
    """The service on stage, and the calls of what it serves."""

    app: App
    clock: AheadClock
    queries: TelemetryServiceStub
    spans: Callable[[trace_pb.ExportTraceServiceRequest], Awaitable[trace_pb.ExportTraceServiceResponse]]
    logs: Callable[[logs_pb.ExportLogsServiceRequest], Awaitable[logs_pb.ExportLogsServiceResponse]]
    metrics: Callable[[metrics_pb.ExportMetricsServiceRequest], Awaitable[metrics_pb.ExportMetricsServiceResponse]]

    @classmethod
    async def open(cls, stage: Stage, **settings: Any) -> Telemetry:
        """Start it."""
        stage.clock = clock = AheadClock()
        [http_port] = ports.free_block(1)
        app = await stage.start("telemetry", http_port=http_port, **settings)
        channel = stage.channel(SERVICE)
        exports = (_export(channel, *of) for of in (("trace", "Trace"), ("logs", "Logs"), ("metrics", "Metrics")))
        return cls(app, clock, stage.stub(SERVICE, TelemetryServiceStub), *exports)

    async def send(self, service: str, *spans: Span) -> trace_pb.ExportTraceServiceResponse:
        return await self.spans(spans_of(service, *spans))

    async def find(self, trace_id: bytes) -> pb.Trace | None:
        try:
            return (await self.queries.GetTrace(pb.GetTraceRequest(name=name_of(trace_id)))).trace
        except NotFound:
            return None

    async def trace(self, trace_id: bytes, span_count: int = 1, *, decided: bool = False) -> pb.Trace:
        """Return a trace once so many of its spans are there, or once it is decided about."""
        found: pb.Trace | None = None

        async def there() -> bool:
            nonlocal found
            found = await self.find(trace_id)
            undecided = found is not None and found.keep == pb.Trace.KEEP_UNDECIDED
            return found is not None and found.span_count >= span_count and not (decided and undecided)

        await eventually(there)
        assert found is not None
        return found

    async def logged(self, trace: str) -> Sequence[pb.LogRecord]:
        """Return the logs of a trace once there are any."""
        found: Sequence[pb.LogRecord] = ()

        async def there() -> bool:
            nonlocal found
            found = (await self.queries.ListLogs(pb.ListLogsRequest(trace=trace))).logs
            return bool(found)

        await eventually(there)
        return found

    async def signal(self, name: str) -> pb.Signal:
        signals = (await self.queries.GetIntake(pb.GetIntakeRequest())).signals
        return next(signal for signal in signals if signal.name == name)

    async def stored(self, signal: str, count: int) -> None:
        """Wait until so many are there."""

        async def there() -> bool:
            return (await self.signal(signal)).stored == count

        await eventually(there)


def _export(channel: grpc.aio.Channel, signal: str, service: str) -> Any:
    """Return the call of a collector's method, as any OTLP client makes it."""
    pb2 = import_module(f"opentelemetry.proto.collector.{signal}.v1.{signal}_service_pb2")
    return channel.unary_unary(
        f"/opentelemetry.proto.collector.{signal}.v1.{service}Service/Export",
        request_serializer=getattr(pb2, f"Export{service}ServiceRequest").SerializeToString,
        response_deserializer=getattr(pb2, f"Export{service}ServiceResponse").FromString,
    )


def value(of: object) -> AnyValue:
    match of:
        case bool():
            return AnyValue(bool_value=of)
        case int():
            return AnyValue(int_value=of)
        case float():
            return AnyValue(double_value=of)
    return AnyValue(string_value=str(of))


def attributes(of: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(each)) for key, each in of.items()]


def resource(service: str, instance: str = "", version: str = "v1") -> Resource:
    known = {"service.name": service, "service.instance.id": instance or f"{service}/1", "service.version": version}
    return Resource(attributes=attributes(known))


def new_trace_id() -> bytes:
    return secrets.token_bytes(16)


def name_of(trace_id: bytes) -> str:
    return f"traces/{trace_id.hex()}"


def span(
    trace_id: bytes,
    name: str = "work",
    *,
    ms: int = 10,
    of: Mapping[str, object] | None = None,
    failed: bool = False,
    start_ns: int = 0,
    **fields: Any,
) -> Span:
    start_ns = start_ns or time.time_ns() - ms * MS
    fields = {"span_id": secrets.token_bytes(8), "end_time_unix_nano": start_ns + ms * MS, **fields}
    made = Span(trace_id=trace_id, name=name, start_time_unix_nano=start_ns, attributes=attributes(of or {}), **fields)
    if failed:
        made.status.code, made.status.message = Status.STATUS_CODE_ERROR, "it broke"
    return made


def spans_of(service: str, *spans: Span) -> trace_pb.ExportTraceServiceRequest:
    of_resource = ResourceSpans(resource=resource(service), scope_spans=[ScopeSpans(spans=spans)])
    return trace_pb.ExportTraceServiceRequest(resource_spans=[of_resource])


def record(message: str, of: Mapping[str, object] | None = None, **fields: Any) -> LogRecord:
    fields = {"time_unix_nano": time.time_ns(), "severity_number": 9, **fields}
    return LogRecord(body=value(message), attributes=attributes(of or {}), **fields)


def logs_of(service: str, *records: LogRecord) -> logs_pb.ExportLogsServiceRequest:
    of_resource = ResourceLogs(resource=resource(service), scope_logs=[ScopeLogs(log_records=records)])
    return logs_pb.ExportLogsServiceRequest(resource_logs=[of_resource])


def histogram(name: str, buckets: Mapping[float, int], rest: int = 0, **of: str) -> Metric:
    """Return a histogram: how many values are in each bucket by its upper bound, and above all."""
    counts = [*buckets.values(), rest]
    metric = Metric(name=name, unit="s")
    metric.histogram.aggregation_temporality = CUMULATIVE
    metric.histogram.data_points.add(
        attributes=attributes(dotted(of)), count=sum(counts), bucket_counts=counts, explicit_bounds=buckets,
        time_unix_nano=time.time_ns(),
    )  # fmt: skip
    return metric


def counter(name: str, total: float, **of: str) -> Metric:
    metric = Metric(name=name)
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = CUMULATIVE, True
    metric.sum.data_points.add(attributes=attributes(dotted(of)), as_double=total, time_unix_nano=time.time_ns())
    return metric


def gauge(name: str, now: float, **of: str) -> Metric:
    metric = Metric(name=name)
    metric.gauge.data_points.add(attributes=attributes(dotted(of)), as_double=now, time_unix_nano=time.time_ns())
    return metric


def metrics_of(instance: str, *metrics: Metric) -> metrics_pb.ExportMetricsServiceRequest:
    of_resource = ResourceMetrics(
        resource=resource(instance.partition("/")[0], instance), scope_metrics=[ScopeMetrics(metrics=metrics)]
    )
    return metrics_pb.ExportMetricsServiceRequest(resource_metrics=[of_resource])


def dotted(of: Mapping[str, str]) -> dict[str, str]:
    """Return attributes by their names, of which Python knows only those without dots: `rpc__method`."""
    return {name.replace("__", "."): each for name, each in of.items()}
