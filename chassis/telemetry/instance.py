"""What one instance tells, and in whose name: the one place that spans and logs of its tasks go through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from chassis.settings import Settings
from chassis.telemetry.export import Exporter
from chassis.telemetry.otlp import resource_of
from chassis.telemetry.sampling import Sampler

_CURRENT: ContextVar[Telemetry | None] = ContextVar("telemetry", default=None)


class Telemetry(SpanProcessor):
    """The telemetry of one instance. Several may share a process, and the exporters of that."""

    def __init__(self, settings: Settings, exporters: Sequence[Exporter] = ()) -> None:
        self.fields = fields_of(settings)
        resource = Resource(resource_of(self.fields))
        self.provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)  # whether is the sampler's to say
        self.provider.add_span_processor(self)
        self.tracer = self.provider.get_tracer("mercato")
        self.exports = bool(exporters)
        self.sampler = Sampler(settings.trace_ratio if exporters else 0.0, settings.traces_per_second)
        self._exporters = exporters

    def tell(self) -> Telemetry:
        """Have this task, and every task that comes of it, tell in its name."""
        _CURRENT.set(self)
        return self

    def on_end(self, span: ReadableSpan) -> None:
        """Send a span."""
        for exporter in self._exporters:
            exporter.spans.put(span)

    def log(self, line: Mapping[str, Any]) -> None:
        """Send a line of the log."""
        for exporter in self._exporters:
            exporter.logs.put(line)


def current_telemetry() -> Telemetry | None:
    """Return in whose name this task tells; None where nobody said."""
    return _CURRENT.get()


def fields_of(settings: Settings) -> dict[str, str]:
    """Return what lines of logs call an instance by."""
    return {"service": settings.service, "instance": settings.instance, "version": settings.version}
