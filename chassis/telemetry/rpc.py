"""Calls as those who make them see them, and those who serve them: how long they took, by their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from grpc.aio import AioRpcError
from opentelemetry.trace import SpanKind

from chassis.call import current_call
from chassis.errors import MercatoError
from chassis.status import CODES, FAULTS
from chassis.telemetry.metrics import durations
from chassis.telemetry.spans import exemplar, late_call, note, span
from chassis.telemetry.trace import Trace

CONSOLE = "console"
"""Who looks on at the suite, as a caller: its calls are no part of how the suite is used."""

_served_s = durations(
    "rpc.server.call.duration", "Time calls were served, by their end.", "rpc.method", "rpc.response.status_code"
)
_made_s = durations(
    "rpc.client.call.duration", "Time calls to other services took, by their end.",
    "mercato.caller", "rpc.method", "rpc.response.status_code",
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

    @contextmanager
    def calling(self, path: str) -> Iterator[Trace]:
        """Record a call that is made within the block for the one being served; yields the trace to send along.

        For who needs the call object itself, which OpenTelemetry's interceptors of streams keep to themselves.
        """
        name = path.removeprefix("/")
        started, code = perf_counter(), "CANCELLED"
        with span(name, SpanKind.CLIENT, {"rpc.system.name": "grpc", "rpc.method": name}):
            call = current_call()
            trace = call.trace if call else Trace.start()
            try:
                yield trace
                code = "OK"
            except (AioRpcError, MercatoError) as error:
                code = code_of(error)
                raise
            finally:
                note("rpc.response.status_code", code)
                self.observe(path, code, perf_counter() - started, trace)


def code_of(error: AioRpcError | MercatoError) -> str:
    """Return the name of the status code that an error is."""
    return CODES[error.code].name if isinstance(error, MercatoError) else error.code().name
