"""A program that knows nothing of us: the stock OpenTelemetry SDK with its stock exporters.

python stock_client.py grpc http://127.0.0.1:4317 billing
python stock_client.py http http://127.0.0.1:4318 billing
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind


def main(protocol: str, endpoint: str, service: str) -> None:
    """Send a trace of two spans, a log record within, a counter and a histogram; print the trace's id."""
    logging.basicConfig(level=logging.WARNING)  # what an exporter cannot send, it logs
    exporters: tuple[Any, Any, Any]
    if protocol == "grpc":
        exporters = GrpcSpans(endpoint, True), GrpcLogs(endpoint, True), GrpcMetrics(endpoint, True)  # insecure
    else:
        span_exporter = HttpSpans(f"{endpoint}/v1/traces", compression=Compression.Gzip)
        exporters = span_exporter, HttpLogs(f"{endpoint}/v1/logs"), HttpMetrics(f"{endpoint}/v1/metrics")
    resource = Resource.create({"service.name": service, "service.instance.id": f"{service}/7"})
    traces, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    traces.add_span_processor(BatchSpanProcessor(exporters[0]))
    logs.add_log_record_processor(BatchLogRecordProcessor(exporters[1]))
    metrics = MeterProvider([PeriodicExportingMetricReader(exporters[2])], resource)

    tracer, meter = traces.get_tracer("stock"), metrics.get_meter("stock")
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        with tracer.start_as_current_span("inner", attributes={"db.system.name": "postgresql"}):
            logs.get_logger("stock").emit(severity_number=SeverityNumber.WARN, body="within", attributes={"attempt": 2})
        outer.record_exception(ValueError("odd"))
    meter.create_counter("jobs").add(3, {"kind": "invoice"})
    meter.create_histogram("rpc.server.call.duration", unit="s").record(
        0.02, {"rpc.method": f"mercato.{service}.v1.Jobs/Run", "rpc.response.status_code": "OK"}
    )
    for provider in traces, logs, metrics:
        provider.shutdown()
    print(f"{outer.get_span_context().trace_id:032x}")  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
