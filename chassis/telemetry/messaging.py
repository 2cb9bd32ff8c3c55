"""Events on their way over the bus: https://opentelemetry.io/docs/specs/semconv/messaging/.

Who sends one does so as a part of what made it happen; who handles it, as a part of the sending, and links to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from time import time

from opentelemetry.trace import Span, SpanKind

from chassis.bus import Event
from chassis.call import Call
from chassis.telemetry.instance import current_telemetry
from chassis.telemetry.metrics import counter, gauge
from chassis.telemetry.spans import SUBJECT, begin, fail, trace_of
from chassis.telemetry.trace import Trace

SYSTEM = "nats"

_sent = counter("messaging.client.sent.messages", "Events that the bus took.", "messaging.destination.name")
_consumed = counter(
    "messaging.client.consumed.messages", "Events that were handled, are to be tried again, or could not be handled.",
    "messaging.consumer.group.name", "messaging.destination.name", "error.type",
)  # fmt: skip
_lag = gauge(
    "mercato.consumer.lag", "How old the event that was handled last was by then, and for how long none was since.",
    "messaging.consumer.group.name", unit="s",
)  # fmt: skip


@contextmanager
def sending(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Record that events are sent within the block; yields them as parts of that.

    Where it fails it was nothing: it is tried again and again, for as long as the bus is away.
    """
    telemetry = current_telemetry()
    spans, sent = [], []
    for event in events:
        parent = Trace.parse(event.trace)
        if telemetry and parent and parent.sampled:
            span = begin(telemetry, f"send {event.type}", parent, SpanKind.PRODUCER, _attributes(event, "send"))
            spans.append(span)
            event = replace(event, trace=trace_of(span).traceparent)
        sent.append(event)
    yield sent
    for event in events:
        _sent.labels(event.type).inc()
    for span in spans:
        span.end()


class Processing:
    """One event that is being handled by a group, until that is done or has failed; else it was nothing."""

    def __init__(self, event: Event, group: str) -> None:
        self._event = event
        self._group = group
        parent, telemetry = Trace.parse(event.trace) or Trace.start(), current_telemetry()
        self._span: Span | None = None
        if telemetry and parent.sampled:
            attributes = {**_attributes(event, "process"), "messaging.consumer.group.name": group}
            self._span = begin(telemetry, f"process {event.type}", parent, SpanKind.CONSUMER, attributes, link=True)
            parent = trace_of(self._span)
        self.call = Call(event.type, group, None, parent)
        """What the work is, for who writes what comes of it."""

    def done(self) -> None:
        """Note that the event had its effect."""
        _consumed.labels(self._group, self._event.type, "").inc()
        _lag.labels(self._group).set(max(time() - self._event.time.timestamp(), 0.0))
        if self._span:
            self._span.end()

    def failed(self, error: Exception, outcome: str) -> None:
        """Note that it could not be handled, and what comes of that: `retry` or `dead_letter`."""
        _consumed.labels(self._group, self._event.type, outcome).inc()
        if self._span:
            fail(self._span, error)
            self._span.end()


def caught_up(group: str) -> None:
    """Note that no event waits for a group, or that it gets on again: that it was late is over then."""
    _lag.labels(group).set(0)


def stands_still(group: str, for_s: float) -> None:
    """Note that no event was handled for so long, though some wait for a group."""
    _lag.labels(group).inc(for_s)


def _attributes(event: Event, operation: str) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": event.type,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": event.id,
        SUBJECT: event.key,
    }
