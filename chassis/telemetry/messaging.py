"""Events on their way over the bus: https://opentelemetry.io/docs/specs/semconv/messaging/.

Who sends one does so as a part of what made it happen; who handles it, as a part of the sending, and links to that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import blake2b
from time import time, time_ns

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Span, SpanContext, SpanKind

from chassis.bus import Event
from chassis.call import Call
from chassis.telemetry.instance import current_telemetry
from chassis.telemetry.metrics import counter, gauge
from chassis.telemetry.spans import SUBJECT, begin, context_of, error_type, fail, trace_of
from chassis.telemetry.trace import Trace

SYSTEM = {"messaging.system": "nats"}

_sent = counter(
    "messaging.client.sent.messages",
    "Events that the bus took.",
    "messaging.destination.name",
    always={**SYSTEM, "messaging.operation.name": "send"},
)
_consumed = counter(
    "messaging.client.consumed.messages", "Events that were handled, are to be tried again, or could not be handled.",
    "messaging.consumer.group.name", "messaging.destination.name", "error.type", "mercato.outcome",
    always={**SYSTEM, "messaging.operation.name": "process"},
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
    telemetry, began_ns = current_telemetry(), time_ns()
    sent = [_as_sent(event) if telemetry else event for event in events]
    yield sent
    for before, event in zip(events, sent, strict=True):
        _sent.labels(event.type).inc()
        if telemetry and event is not before:
            span = ReadableSpan(
                f"send {event.type}",
                _standing(event),
                _standing(before),
                telemetry.provider.resource,
                _attributes(event, "send"),
                kind=SpanKind.PRODUCER,
                start_time=began_ns,
                end_time=time_ns(),
            )
            telemetry.on_end(span)


def _as_sent(event: Event) -> Event:
    """Return an event as a part of its sending, where that is sampled.

    It is the same in each try: of one whose answer was lost the bus has the event already, and keeps it as it is.
    """
    parent = Trace.parse(event.trace)
    if parent is None or not parent.sampled:
        return event
    span_id = blake2b(f"{parent.trace_id}/{event.id}".encode(), digest_size=8).hexdigest()
    return replace(event, trace=parent._replace(span_id=span_id).traceparent)


def _standing(event: Event) -> SpanContext:
    trace = Trace.parse(event.trace)
    assert trace
    return context_of(trace)


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
        _consumed.labels(self._group, self._event.type, "", "").inc()
        _lag.labels(self._group).set(max(time() - self._event.time.timestamp(), 0.0))
        if self._span:
            self._span.end()

    def failed(self, error: Exception, outcome: str) -> None:
        """Note that it could not be handled, and what comes of that: `retry` or `dead_letter`."""
        _consumed.labels(self._group, self._event.type, error_type(error), outcome).inc()
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
        **SYSTEM,
        "messaging.destination.name": event.type,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.message.id": event.id,
        SUBJECT: event.key,
    }
