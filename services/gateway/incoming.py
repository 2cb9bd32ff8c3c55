"""Requests from outside as telemetry has them: the trace each is in, its span where that is sampled, its metric."""

from __future__ import annotations

from time import perf_counter

from opentelemetry.trace import Span, SpanKind, StatusCode

from chassis.telemetry import spans
from chassis.telemetry.instance import Telemetry
from chassis.telemetry.trace import Trace


class Incoming:
    """One request, from when it came in to when it is answered."""

    def __init__(self, telemetry: Telemetry, name: str, parent: Trace | None) -> None:
        """Take the trace that the client says it is in. Whether to record it is decided here, unless it says no."""
        self._started_s = perf_counter()
        self._span: Span | None = None
        if (parent is None or parent.sampled) and telemetry.sampler.decide():
            self._span = spans.begin(telemetry, name, parent, SpanKind.SERVER)
            self.trace = spans.trace_of(self._span)
        else:
            self.trace = parent.child()._replace(sampled=False) if parent else Trace.start()

    @property
    def duration_s(self) -> float:
        """How long it takes so far."""
        return perf_counter() - self._started_s

    @property
    def exemplar(self) -> dict[str, str] | None:
        """What leads from its metric to its trace."""
        return spans.exemplar(self.trace) if self._span else None

    def end(self, name: str, error: str, attributes: spans.Attributes) -> None:
        """Say what it was, and whether it failed by a fault of ours: with the name of an `error`."""
        if self._span is None:
            if error:
                spans.late(name, SpanKind.SERVER, self.trace, self.duration_s, error, attributes)
            return
        self._span.update_name(name)
        self._span.set_attributes(attributes)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
