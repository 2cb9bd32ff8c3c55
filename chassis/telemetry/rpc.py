"""Calls as those who make them see them, and those who serve them: how long they took, by their end."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import Any

from grpc.aio import AioRpcError
from opentelemetry.trace import Span, SpanKind

from chassis.call import current_call
from chassis.errors import MercatoError
from chassis.status import CODES, FAULTS
from chassis.telemetry.instance import current_telemetry
from chassis.telemetry.metrics import durations
from chassis.telemetry.spans import begin, exemplar, fail, late_call, trace_of
from chassis.telemetry.trace import Trace

SYSTEM = {"rpc.system.name": "grpc"}
CONSOLE = "console"
"""Who looks on at the suite, as a caller: its calls are no part of how the suite is used."""

_served_s = durations(
    "rpc.server.call.duration", "Time calls were served, by their end.", "rpc.method", "rpc.response.status_code",
    always=SYSTEM,
)  # fmt: skip
_made_s = durations(
    "rpc.client.call.duration", "Time calls to other services took, by their end.",
    "mercato.caller", "rpc.method", "rpc.response.status_code", always=SYSTEM,
)  # fmt: skip


class ServedCalls:
    """The calls of one method, counted where they are served."""

    def __init__(self, path: str) -> None:
        self._method = path.removeprefix("/")
        self._observe_s: dict[str, Callable[..., Any]] = {}

    def observe(self, code: str, duration_s: float, leads_to: dict[str, str] | None = None) -> None:
        """Count one that ended, and the trace that it leads to."""
        if code not in self._observe_s:
            self._observe_s[code] = _served_s.labels(self._method, code).observe
        self._observe_s[code](duration_s, leads_to)


class ClientCalls:
    """The calls of one caller."""

    def __init__(self, caller: str) -> None:
        self._caller = caller
        self._observe_s: dict[tuple[str, str], Callable[..., Any]] = {}

    def calling(self, path: str) -> Calling:
        """Count and record a call that is made within the block for the one being served."""
        return Calling(self, path)

    def observe(self, path: str, code: str, duration_s: float, trace: Trace) -> None:
        """Count a call that ended; where it failed by a fault and is not sampled, record that now."""
        if (path, code) not in self._observe_s:
            self._observe_s[path, code] = _made_s.labels(self._caller, path.removeprefix("/"), code).observe
        if trace.sampled:
            self._observe_s[path, code](duration_s, exemplar(trace))
            return
        self._observe_s[path, code](duration_s)
        if code in FAULTS and self._caller != CONSOLE:
            late_call(path, SpanKind.CLIENT, trace, code, duration_s, self._caller)


class Calling:
    """A call that is made within a block, however that ends; the block gets the trace to send along.

    Its span is not the one that is open meanwhile, so that a stream may be left and gone on with in any context.
    """

    __slots__ = ("_calls", "_path", "_span", "_started_s", "_trace")

    def __init__(self, calls: ClientCalls, path: str) -> None:
        self._calls = calls
        self._path = path
        self._span: Span | None = None

    def __enter__(self) -> Trace:
        call = current_call()
        trace = call.trace if call else Trace.start()
        if trace.sampled and (telemetry := current_telemetry()):
            name = self._path.removeprefix("/")
            self._span = begin(telemetry, name, trace, SpanKind.CLIENT, {**SYSTEM, "rpc.method": name})
            trace = trace_of(self._span)
        self._trace, self._started_s = trace, perf_counter()
        return trace

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            code = "OK"
        else:
            code = code_of(error) if isinstance(error, (AioRpcError, MercatoError)) else "CANCELLED"
        self._calls.observe(self._path, code, perf_counter() - self._started_s, self._trace)
        if self._span:
            self._span.set_attribute("rpc.response.status_code", code)
            if isinstance(error, Exception):
                fail(self._span, error)
            self._span.end()


def code_of(error: AioRpcError | MercatoError) -> str:
    """Return the name of the status code that an error is."""
    return CODES[error.code].name if isinstance(error, MercatoError) else error.code().name
