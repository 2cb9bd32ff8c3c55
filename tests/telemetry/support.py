"""What tests of telemetry share: the service on stage, and spans, points and logs made by hand."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import grpc
from mercato.telemetry.v1 import telemetry_pb2 as pb
from mercato.telemetry.v1.telemetry_pb2_grpc import TelemetryServiceStub
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from chassis.app import App
from chassis.errors import NotFound
from tests.stage import Stage, eventually

SERVICE = pb.DESCRIPTOR.services_by_name["TelemetryService"]
MS = 1_000_000
"""Nanoseconds."""


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


def span(trace_id: bytes, name: str, *, ms: int = 10, parent: bytes = b"", of: Mapping[str, object] | None = None,
         failed: bool = False, **fields: Any) -> Span:  # fmt: skip
    start = fields.pop("start_time_unix_nano", time.time_ns() - ms * MS)
    made = Span(
        trace_id=trace_id,
        span_id=fields.pop("span_id", secrets.token_bytes(8)),
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=start,
        end_time_unix_nano=start + ms * MS,
        attributes=attributes(of or {}),
        **fields,
    )
    if failed:
        made.status.code, made.status.message = Status.STATUS_CODE_ERROR, "it broke"
    return made


def spans_of(service: str, *spans: Span) -> trace_pb.ExportTraceServiceRequest:
    of_resource = ResourceSpans(resource=resource(service), scope_spans=[ScopeSpans(spans=spans)])
    return trace_pb.ExportTraceServiceRequest(resource_spans=[of_resource])


@dataclass
class Telemetry:
    """The service on stage, and stubs of what it serves."""

    app: App
    queries: TelemetryServiceStub
    export_spans: Callable[[Any], Awaitable[Any]]

    @classmethod
    async def open(cls, stage: Stage, **settings: Any) -> Telemetry:
        """Start it."""
        app = await stage.start("telemetry", **settings)
        channel = stage.channel(SERVICE)
        return cls(app, stage.stub(SERVICE, TelemetryServiceStub), _export(channel, "trace", "Trace"))

    async def send(self, service: str, *spans: Span) -> trace_pb.ExportTraceServiceResponse:
        answer: trace_pb.ExportTraceServiceResponse = await self.export_spans(spans_of(service, *spans))
        return answer

    async def trace(self, trace_id: bytes, span_count: int = 1) -> pb.Trace:
        """Return a trace once so many of its spans are there."""
        found = pb.Trace()

        async def there() -> bool:
            nonlocal found
            try:
                found = (await self.queries.GetTrace(pb.GetTraceRequest(name=f"traces/{trace_id.hex()}"))).trace
            except NotFound:
                return False
            return found.span_count >= span_count

        await eventually(there)
        return found


def _export(channel: grpc.aio.Channel, signal: str, service: str) -> Callable[[Any], Awaitable[Any]]:
    """Return the call of a collector's method, as any OTLP client makes it."""
    pb2 = import_module(f"opentelemetry.proto.collector.{signal}.v1.{signal}_service_pb2")
    return channel.unary_unary(
        f"/opentelemetry.proto.collector.{signal}.v1.{service}Service/Export",
        request_serializer=getattr(pb2, f"Export{service}ServiceRequest").SerializeToString,
        response_deserializer=getattr(pb2, f"Export{service}ServiceResponse").FromString,
    )


def names(traces: Sequence[pb.Trace]) -> list[str]:
    return [trace.name.removeprefix("traces/") for trace in traces]
