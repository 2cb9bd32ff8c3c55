"""Takes in what instances send by OTLP, and answers at once: https://opentelemetry.io/docs/specs/otlp/."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb

from chassis.clock import Clock
from services.telemetry import logs, points, spans
from services.telemetry.intake import Queue, Signal
from services.telemetry.live import Live
from services.telemetry.logs import LogRow
from services.telemetry.spans import SpanRow

MAX_BATCH_BYTES = 4 * 1024**2
"""The stock exporters send no more."""
LARGE_BYTES = 256 * 1024
"""Batches of this size are read beside all else."""
FULL = "for which there is no room"
INVALID = "whose ids are not 16 bytes for a trace and 8 for a span, or whose times are none"

Reading = TypeVar("Reading")


class TraceReceiver:
    """Serves opentelemetry.proto.collector.trace.v1.TraceService."""

    def __init__(self, queue: Queue[SpanRow], clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    async def Export(  # noqa: D102, N802
        self, request: trace_pb.ExportTraceServiceRequest, context: Any
    ) -> trace_pb.ExportTraceServiceResponse:
        reading, signal = await _read(spans.read, request, _now_ns(self._clock)), self._queue.signal
        signal.drop("invalid", reading.invalid)
        signal.drop("attributes", reading.cut)
        rejected = {FULL: self._queue.put(reading.rows), INVALID: reading.invalid}
        response = trace_pb.ExportTraceServiceResponse()
        if count := sum(rejected.values()):
            response.partial_success.rejected_spans = count
            response.partial_success.error_message = _told(rejected)
        return response


class LogsReceiver:
    """Serves opentelemetry.proto.collector.logs.v1.LogsService."""

    def __init__(self, queue: Queue[LogRow], clock: Clock) -> None:
        self._queue = queue
        self._clock = clock

    async def Export(  # noqa: D102, N802
        self, request: logs_pb.ExportLogsServiceRequest, context: Any
    ) -> logs_pb.ExportLogsServiceResponse:
        reading, signal = await _read(logs.read, request, _now_ns(self._clock)), self._queue.signal
        signal.drop("invalid", reading.invalid)
        signal.drop("attributes", reading.cut)
        rejected = {FULL: self._queue.put(reading.rows), INVALID: reading.invalid}
        response = logs_pb.ExportLogsServiceResponse()
        if count := sum(rejected.values()):
            response.partial_success.rejected_log_records = count
            response.partial_success.error_message = _told(rejected)
        return response


class MetricsReceiver:
    """Serves opentelemetry.proto.collector.metrics.v1.MetricsService."""

    def __init__(self, live: Live, signal: Signal, clock: Clock) -> None:
        self._live = live
        self._signal = signal
        self._clock = clock

    async def Export(  # noqa: D102, N802
        self, request: metrics_pb.ExportMetricsServiceRequest, context: Any
    ) -> metrics_pb.ExportMetricsServiceResponse:
        batch, now_s = await _read(points.read, request), self._clock.now().timestamp()
        full = sum(self._live.take(sender, readings, now_s) for sender, readings in batch.readings)
        self._signal.drop("full", full)
        self._signal.drop("invalid", batch.rejected.total())
        response = metrics_pb.ExportMetricsServiceResponse()
        if count := full + batch.rejected.total():
            response.partial_success.rejected_data_points = count
            response.partial_success.error_message = _told({FULL: full, **batch.rejected})
        return response


async def _read(read: Callable[..., Reading], batch: Message, *more: object) -> Reading:
    """Read a batch: a large one in a thread, as it may take a second, in which others are served."""
    if batch.ByteSize() < LARGE_BYTES:
        return read(batch, *more)
    return await asyncio.to_thread(read, batch, *more)


def _now_ns(clock: Clock) -> int:
    return int(clock.now().timestamp() * 1e6) * 1000


def _told(rejected: Mapping[str, int]) -> str:
    return "rejected " + "; ".join(f"{count} {reason}" for reason, count in rejected.items() if count)
