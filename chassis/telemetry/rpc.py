"""Calls as those who make them see them: how long they took, by their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanKind

from chassis.telemetry.metrics import durations
from chassis.telemetry.spans import FAULTS, exemplar, late_call
from chassis.telemetry.trace import Trace

_seconds = durations(
    "rpc.client.call.duration", "Time calls to other services took, by their end.",
    "mercato.caller", "rpc.method", "rpc.response.status_code",
)  # fmt: skip


class ClientCalls:
    """The calls of one caller."""

    def __init__(self, caller: str) -> None:
        self._caller = caller
        self._observe_s: dict[tuple[str, str], Callable[..., Any]] = {}

    def observe(self, path: str, code: str, duration_s: float, trace: Trace) -> None:
        """Count a call that ended."""
        if (path, code) not in self._observe_s:
            child = _seconds.labels(self._caller, path.removeprefix("/"), code)
            self._observe_s[path, code] = child.observe
        self._observe_s[path, code](duration_s, exemplar(trace) if trace.sampled else None)
        if code in FAULTS and not trace.sampled:
            late_call(path, SpanKind.CLIENT, trace, code, duration_s, self._caller)
