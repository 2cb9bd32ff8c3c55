"""Composition root of telemetry."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from mercato.telemetry.v1 import telemetry_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs_pb
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics_pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as trace_pb

from chassis.app import App, run
from services.telemetry.contract import objectives_by_method
from services.telemetry.history import RECORD_S, History, PointRow, Recorder
from services.telemetry.housekeeping import DECIDE_EVERY_S, EXPIRE_EVERY_S, WRITE_EVERY_S, Housekeeping, every
from services.telemetry.intake import Queue, Signal, Writer
from services.telemetry.live import Live
from services.telemetry.logbook import Logbook
from services.telemetry.logs import LogRow
from services.telemetry.objectives import Objectives
from services.telemetry.options import Options
from services.telemetry.receiver import MAX_BATCH_BYTES, LogsReceiver, MetricsReceiver, TraceReceiver
from services.telemetry.service import TelemetryService
from services.telemetry.spans import SpanRow
from services.telemetry.traces import Traces
from services.telemetry.web import WebReceiver


async def compose(app: App) -> None:
    options, clock = Options.of(app.settings.options), app.clock
    database = await app.open_database(Path(__file__).parent / "migrations", optional=True)
    signals = Signal("spans"), Signal("logs"), Signal("points")

    spans: Queue[SpanRow] = Queue(signals[0], lambda row: len(row.data))
    logs: Queue[LogRow] = Queue(signals[1], lambda row: len(row.data))
    points: Queue[PointRow] = Queue(signals[2], lambda row: len(row.attributes))
    traces = Traces(database, signals[0], clock, options.keep_ratio)
    logbook = Logbook(database, signals[1])
    history = History(database, signals[2], clock)
    objectives = Objectives(database, signals[2], objectives_by_method(), clock)
    live = Live(await objectives.load(), objectives)
    housekeeping = Housekeeping(traces, logbook, history, objectives, options, clock)
    await housekeeping.count()

    for writer in (
        Writer(spans, traces.write, clock), Writer(logs, logbook.write, clock), Writer(points, history.write, clock)
    ):  # fmt: skip
        app.background(writer.run)
        app.at_end(writer.finish)
    app.background(partial(every, DECIDE_EVERY_S, traces.decide, clock))
    app.background(partial(every, RECORD_S, Recorder(live, points, clock).record, clock))
    app.background(partial(every, WRITE_EVERY_S, objectives.write, clock))
    app.at_end(objectives.write)
    app.background(partial(every, EXPIRE_EVERY_S, housekeeping.expire, clock))

    collectors = {
        "/v1/traces": (trace_pb.DESCRIPTOR.services_by_name["TraceService"], TraceReceiver(spans, clock)),
        "/v1/logs": (logs_pb.DESCRIPTOR.services_by_name["LogsService"], LogsReceiver(logs, clock)),
        "/v1/metrics": (
            metrics_pb.DESCRIPTOR.services_by_name["MetricsService"], MetricsReceiver(live, signals[2], clock)
        ),
    }  # fmt: skip
    for descriptor, receiver in collectors.values():
        app.serve(descriptor, receiver, MAX_BATCH_BYTES)
    app.background(WebReceiver(collectors, app.settings).run)
    service = TelemetryService(traces, logbook, live, history, objectives, signals, clock)
    app.serve(telemetry_pb2.DESCRIPTOR.services_by_name["TelemetryService"], service)


def main() -> None:
    run("telemetry", compose)


if __name__ == "__main__":
    main()
