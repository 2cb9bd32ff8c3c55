"""Takes in what instances send by OTLP, and answers at once: https://opentelemetry.io/docs/specs/otlp/."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from chassis.clock import Clock
from services.telemetry import spans
from services.telemetry.intake import Queue
from services.telemetry.spans import SpanRow

MAX_BATCH_BYTES = 4 * 1024**2
"""The stock exporters send no more."""


class TraceReceiver:
    """Serves opentelemetry.proto.collector.trace.v1.TraceService."""

    def __init__(self, queue: Queue[SpanRow], clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:  # noqa: D102, N802
        reading = spans.read(request, nanoseconds(self._clock))
        self._queue.signal.drop("invalid", reading.invalid)
        self._queue.signal.drop("attributes", reading.cut)
        full = self._queue.put(reading.rows)
        response = ExportTraceServiceResponse()
        if rejected := full + reading.invalid:
            response.partial_success.rejected_spans = rejected
            response.partial_success.error_message = _reasons(full, reading.invalid)
        return response


def nanoseconds(clock: Clock) -> int:
    """Return the time as OTLP has it."""
    return int(clock.now().timestamp() * 1e6) * 1000


def _reasons(full: int, invalid: int) -> str:
    reasons = {
        "there was no room for {}": full,
        "{} were not valid: a trace's id has 16 bytes, a span's 8, and times are not in the future": invalid,
    }
    return "; ".join(reason.format(count) for reason, count in reasons.items() if count)
