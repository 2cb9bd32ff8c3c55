"""OpenTelemetry, engaged for sampled calls only: its interceptors are built once a method and skipped otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any

import grpc
from opentelemetry import context, trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from chassis.settings import Settings
from chassis.telemetry.trace import Trace

_PROVIDER: ContextVar[TracerProvider | None] = ContextVar("tracer_provider", default=None)


def configure_tracing(settings: Settings) -> TracerProvider:
    """Record the spans of sampled calls, and send them where OTEL_EXPORTER_OTLP_ENDPOINT says.

    Holds for this task and every task that comes of it; the first also for the rest of the process.
    """
    resource = Resource.create(
        {
            "service.name": settings.service,
            "service.version": settings.version,
            "service.instance.id": settings.instance,
        }
    )
    provider = TracerProvider(resource=resource)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _PROVIDER.set(provider)
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(provider)
    return provider


async def traced_handler(path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that does the same inside a server span."""

    async def found(_: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return handler

    interceptor = OpenTelemetryAioServerInterceptor(_provider().get_tracer("mercato"))
    details: Any = SimpleNamespace(method=path, invocation_metadata=())
    result: grpc.RpcMethodHandler[Any, Any] = await interceptor.intercept_service(found, details)
    return result


def client_interceptors() -> dict[str, Callable[..., Any]]:
    """Return what puts a call inside a client span, by the kind of method."""
    return {
        kind: getattr(interceptor, f"intercept_{kind}")
        for interceptor in aio_client_interceptors(_provider())
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        if hasattr(interceptor, f"intercept_{kind}")
    }


def span_trace() -> Trace:
    """Return where the span that is open stands."""
    span = trace.get_current_span().get_span_context()
    return Trace(f"{span.trace_id:032x}", f"{span.span_id:016x}", sampled=True)


@contextmanager
def parent(of: Trace) -> Iterator[None]:
    """Let spans belong to a trace begun elsewhere, as those of background work do, where no span is open."""
    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    remote = trace.SpanContext(int(of.trace_id, 16), int(of.span_id, 16), True, trace.TraceFlags(1))
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(remote)))
    try:
        yield
    finally:
        context.detach(token)


def _provider() -> trace.TracerProvider:
    return _PROVIDER.get() or trace.get_tracer_provider()
