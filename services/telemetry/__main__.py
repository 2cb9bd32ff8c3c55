"""Composition root of telemetry."""

from __future__ import annotations

from pathlib import Path

from mercato.telemetry.v1 import telemetry_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from chassis.app import App, run
from services.telemetry.intake import Queue, Signal, Writer
from services.telemetry.receiver import MAX_BATCH_BYTES, TraceReceiver
from services.telemetry.service import TelemetryService
from services.telemetry.spans import SpanRow
from services.telemetry.traces import Traces


async def compose(app: App) -> None:
    database = await app.open_database(Path(__file__).parent / "migrations")
    traces = Traces(database, app.clock)
    spans: Queue[SpanRow] = Queue(Signal("spans"))
    app.background(Writer(spans, traces.write, app.clock).run)
    trace_service = trace_service_pb2.DESCRIPTOR.services_by_name["TraceService"]
    app.serve(trace_service, TraceReceiver(spans, app.clock), MAX_BATCH_BYTES)
    app.serve(telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"], TelemetryService(traces))


def main() -> None:
    run("telemetry", compose)


if __name__ == "__main__":
    main()
