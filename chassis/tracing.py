"""OpenTelemetry, engaged for sampled calls only: its interceptors are built once a method and skipped otherwise."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
from opentelemetry import trace
from opentelemetry.instrumentation.grpc import aio_client_interceptors
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from chassis.settings import Settings


def configure_tracing(settings: Settings) -> TracerProvider:
    """Record the spans of sampled calls, and send them where OTEL_EXPORTER_OTLP_ENDPOINT says."""
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
    trace.set_tracer_provider(provider)
    return provider


async def traced_handler(path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that does the same inside a server span."""

    async def found(_: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return handler

    interceptor = OpenTelemetryAioServerInterceptor(trace.get_tracer("mercato"))
    details: Any = SimpleNamespace(method=path, invocation_metadata=())
    result: grpc.RpcMethodHandler[Any, Any] = await interceptor.intercept_service(found, details)
    return result


def client_interceptors() -> dict[str, Callable[..., Any]]:
    """Return what puts a call inside a client span, by the kind of method."""
    return {
        kind: getattr(interceptor, f"intercept_{kind}")
        for interceptor in aio_client_interceptors(trace.get_tracer_provider())
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
        if hasattr(interceptor, f"intercept_{kind}")
    }
