"""Spans, of sampled traces alone: what is not sampled pays for a look at a variable.

Calls that are served are recorded by OpenTelemetry's instrumentation of gRPC, its interceptor being built once a method
and skipped otherwise; those that are made by `chassis.telemetry.rpc`, all else by `span`. The call being served bears
the trace of the span that is open, so that logs, events and calls to others all name it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from time import time_ns
from types import SimpleNamespace, TracebackType
from typing import Any

import grpc
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.instrumentation.grpc._aio_server import OpenTelemetryAioServerInterceptor
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from chassis.call import current_call, serving
from chassis.errors import MercatoError
from chassis.status import FAULTS
from chassis.telemetry.instance import Telemetry, current_telemetry
from chassis.telemetry.trace import Trace

KEEP = "mercato.keep"
"""Why a span is to be kept whatever is sampled: `error`, `slow` or `compensation`."""
SUBJECT = "mercato.subject"
"""The aggregate that a span is about."""

Attributes = Mapping[str, Any]

NOTHING = nullcontext()


def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[None]:
    """Record what is done within the block as a part of the call being served, where that is sampled."""
    call, telemetry = current_call(), current_telemetry()
    if call is None or telemetry is None or not call.trace.sampled:
        return NOTHING
    return _Within(begin(telemetry, name, call.trace, kind, attributes))


def recorded() -> bool:
    """Whether what is done now is sampled."""
    call = current_call()
    return call is not None and call.trace.sampled


def record_on() -> None:
    """Record what is done from here on for the call being served, though its trace is not sampled."""
    call, telemetry = current_call(), current_telemetry()
    if call and telemetry and telemetry.exports:
        call.trace = call.trace._replace(sampled=True)


def begin(
    telemetry: Telemetry,
    name: str,
    parent: Trace | None,
    kind: SpanKind,
    attributes: Attributes | None = None,
    *,
    link: bool = False,
    start_ns: int | None = None,
) -> Span:
    """Begin a span that the caller ends; without a parent it begins a trace. `link` also links it to its parent."""
    links = [Link(context_of(parent))] if link and parent else []
    return telemetry.tracer.start_span(name, _under(parent), kind, attributes, links, start_ns)


def note(name: str, value: str | int | float | bool) -> None:
    """Add an attribute to the span that is open; without one it is not kept."""
    trace.get_current_span().set_attribute(name, value)


def failed(error: BaseException) -> None:
    """Record an error that nobody expected on the span it was raised in."""
    trace.get_current_span().record_exception(error)


def end_call(code: str, caller: str) -> None:
    """Say on the open span of a call that is served how it ends, and who made it."""
    opened = trace.get_current_span()
    opened.set_attributes({"rpc.response.status_code": code, "mercato.caller": caller})
    if code in FAULTS:
        opened.set_attribute("error.type", code)


def late_call(path: str, kind: SpanKind, of: Trace, code: str, duration_s: float, caller: str) -> None:
    """Record a call that failed or was slow, which nobody knew before it was over; its trace is not sampled."""
    name = path.removeprefix("/")
    late(name, kind, of, duration_s, code if code in FAULTS else "", call_attributes(name, code, caller))


def call_attributes(method: str, code: str, caller: str) -> Attributes:
    """Return what a span says of a call that ended."""
    return {
        "rpc.system.name": "grpc",
        "rpc.method": method,
        "rpc.response.status_code": code,
        "mercato.caller": caller,
    }


def late(name: str, kind: SpanKind, of: Trace, duration_s: float, error: str, attributes: Attributes) -> None:
    """Record what failed with an `error`, or was slow, when it is over; its trace is not sampled."""
    telemetry = current_telemetry()
    if telemetry is None or not telemetry.exports:
        return
    end_ns = time_ns()
    said = {**attributes, KEEP: "error", "error.type": error} if error else {**attributes, KEEP: "slow"}
    opened = begin(telemetry, name, of, kind, said, start_ns=end_ns - int(duration_s * 1e9))
    if error:
        opened.set_status(StatusCode.ERROR)
    opened.end(end_ns)


def past(name: str, kind: SpanKind, attributes: Attributes, duration_s: float, error: BaseException | None) -> None:
    """Record what was just done for the call being served, which is sampled."""
    call, telemetry = current_call(), current_telemetry()
    if call is None or telemetry is None:
        return
    end_ns = time_ns()
    opened = begin(telemetry, name, call.trace, kind, attributes, start_ns=end_ns - int(duration_s * 1e9))
    if isinstance(error, Exception):
        fail(opened, error)
    opened.end(end_ns)


def exemplar(of: Trace) -> dict[str, str]:
    """Return what leads from a metric to a call it counted."""
    return {"trace_id": of.trace_id, "span_id": of.span_id}


def trace_of(opened: Span) -> Trace:
    """Return where a span stands."""
    at = opened.get_span_context()
    return Trace(f"{at.trace_id:032x}", f"{at.span_id:016x}", sampled=True)


def span_trace() -> Trace:
    """Return where the span that is open stands."""
    return trace_of(trace.get_current_span())


async def traced_handler(path: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that does the same inside a server span."""

    async def found(_: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        return handler

    interceptor = OpenTelemetryAioServerInterceptor(_provider().get_tracer("mercato"))
    details: Any = SimpleNamespace(method=path, invocation_metadata=())
    result: grpc.RpcMethodHandler[Any, Any] = await interceptor.intercept_service(found, details)
    return result


class _Within:
    """A span that is open for a block, of which the call being served bears the trace meanwhile."""

    __slots__ = ("_serving", "_span", "_token")

    def __init__(self, opened: Span) -> None:
        self._span = opened
        call = current_call()
        self._serving = serving(replace(call, trace=trace_of(opened))) if call else NOTHING

    def __enter__(self) -> None:
        self._token = context.attach(trace.set_span_in_context(self._span))
        self._serving.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._serving.__exit__(kind, error, traceback)
        context.detach(self._token)
        if isinstance(error, Exception):
            fail(self._span, error)
        self._span.end()


def fail(opened: Span, error: Exception) -> None:
    """Say that a span failed and how, in a line; where the error came from says it in full."""
    said = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
    opened.set_attribute("error.type", error_type(error))
    opened.set_status(Status(StatusCode.ERROR, (said or "").partition("\n")[0]))


def error_type(error: Exception) -> str:
    """Return what kind of error it is: one of few names."""
    if isinstance(error, MercatoError):
        return error.reason
    return error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__qualname__


def _under(of: Trace | None) -> Context:
    """Return the context of what is done in a trace, or begins one."""
    if of is None:
        return Context()
    return trace.set_span_in_context(trace.NonRecordingSpan(context_of(of)), Context())


def context_of(of: Trace) -> SpanContext:
    """Return where a trace stands, as OpenTelemetry has it."""
    return SpanContext(int(of.trace_id, 16), int(of.span_id, 16), True, TraceFlags(TraceFlags.SAMPLED))


def _provider() -> trace.TracerProvider:
    telemetry = current_telemetry()
    return telemetry.provider if telemetry else trace.NoOpTracerProvider()
