"""A place that takes OTLP over gRPC, as any OpenTelemetry collector does, and keeps what it is sent for a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1 import trace_pb2

_REQUESTS: Mapping[str, Any] = {
    "TraceService": ExportTraceServiceRequest,
    "LogsService": ExportLogsServiceRequest,
    "MetricsService": ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class Span:
    """One span as it came."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    service: str
    failed: bool
    attributes: Mapping[str, Any]
    links: list[tuple[str, str]]
    exceptions: list[str]
    resource: Mapping[str, Any]


@dataclass
class Collector(grpc.GenericRpcHandler):
    """What came, and how the next calls are answered."""

    port: int = 0
    spans: list[Span] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[tuple[str, str], Metric] = field(default_factory=dict)
    """By the instance and the metric's name, as it was told last."""
    refusal: grpc.StatusCode | None = None
    trailers: tuple[tuple[str, str | bytes], ...] = ()
    """Of calls that are refused."""
    refused: int = 0
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    """Until it is set, calls hang."""
    meanwhile: Callable[[], None] = lambda: None
    """Called while spans are taken."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        request = _REQUESTS.get(handler_call_details.method.split("/")[1].rpartition(".")[2])
        return request and grpc.unary_unary_rpc_method_handler(self._take, request_deserializer=request.FromString)

    async def _take(self, request: Any, context: Any) -> bytes:
        await self.takes.wait()
        if self.refusal:
            self.refused += 1
            await context.abort(self.refusal, "not now", self.trailers)
        match request:
            case ExportTraceServiceRequest():
                self.meanwhile()
                self.spans += _spans(request)
            case ExportLogsServiceRequest():
                self.logs += _logs(request)
            case ExportMetricsServiceRequest():
                self.metrics.update(_metrics(request))
        return b""

    def of_trace(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]


@asynccontextmanager
async def collector(port: int = 0) -> AsyncIterator[Collector]:
    """Run one on loopback."""
    kept = Collector()
    kept.takes.set()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((kept,))
    kept.port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield kept
    finally:
        await server.stop(1)


def value_of(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def attributes_of(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {each.key: value_of(each.value) for each in pairs}


def _spans(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        resource = attributes_of(of_resource.resource.attributes)
        for span in (span for scope in of_resource.scope_spans for span in scope.spans):
            yield Span(
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                name=span.name,
                kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                service=resource["service.name"],
                failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                attributes=attributes_of(span.attributes),
                links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                exceptions=[
                    attributes_of(event.attributes)["exception.type"]
                    for event in span.events
                    if event.name == "exception"
                ],
                resource=resource,
            )


def _logs(request: ExportLogsServiceRequest) -> Iterator[dict[str, Any]]:
    for of_resource in request.resource_logs:
        resource = attributes_of(of_resource.resource.attributes)
        for record in (record for scope in of_resource.scope_logs for record in scope.log_records):
            yield {
                **resource,
                **attributes_of(record.attributes),
                "message": record.body.string_value,
                "severity": record.severity_text,
                "trace": record.trace_id.hex(),
                "span": record.span_id.hex(),
            }


def _metrics(request: ExportMetricsServiceRequest) -> Iterator[tuple[tuple[str, str], Metric]]:
    for of_resource in request.resource_metrics:
        instance = attributes_of(of_resource.resource.attributes)["service.instance.id"]
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            yield (instance, metric.name), metric
