"""What is told, as OTLP has it, under the current names of the semantic conventions.

https://opentelemetry.io/docs/specs/otlp/, https://opentelemetry.io/docs/specs/semconv/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs, SeverityNumber
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client.core import Metric, Sample

from chassis.telemetry.metrics import Declared, declared

SCOPE = InstrumentationScope(name="mercato")

_SEVERITIES = {
    "DEBUG": SeverityNumber.SEVERITY_NUMBER_DEBUG,
    "INFO": SeverityNumber.SEVERITY_NUMBER_INFO,
    "WARNING": SeverityNumber.SEVERITY_NUMBER_WARN,
    "ERROR": SeverityNumber.SEVERITY_NUMBER_ERROR,
}
_INSTANCE = ("service", "instance", "version")
_OF_RECORD = frozenset({"time", "level", "message", "trace", "span", *_INSTANCE})
_RENAMED_OF_RECORD = {"exception": "exception.stacktrace"}
_RENAMED = {  # what opentelemetry-instrumentation-grpc still calls by names of before
    "rpc.system": "rpc.system.name",
    "net.peer.ip": "network.peer.address",
    "net.peer.port": "network.peer.port",
    "rpc.user_agent": "user_agent.original",
}
_REPLACED = frozenset({"rpc.service", "rpc.grpc.status_code", "net.peer.name"})
_CUMULATIVE = pb.AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def resource_of(fields: Mapping[str, str]) -> dict[str, str]:
    """Return what OpenTelemetry calls an instance by; takes what lines of logs do."""
    return {
        "service.name": fields["service"],
        "service.namespace": "mercato",
        "service.instance.id": fields["instance"],
        "service.version": fields["version"],
    }


def spans(ended: Sequence[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return what exports spans."""
    request: ExportTraceServiceRequest = encode_spans(ended)
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                _as_today(span)
    return request


def logs(lines: Sequence[Mapping[str, Any]]) -> ExportLogsServiceRequest:
    """Return what exports lines of logs."""
    by_instance: defaultdict[tuple[str, ...], list[LogRecord]] = defaultdict(list)
    for line in lines:
        by_instance[tuple(str(line.get(key, "")) for key in _INSTANCE)].append(_record(line))
    return ExportLogsServiceRequest(
        resource_logs=[
            ResourceLogs(
                resource=_resource(resource_of(dict(zip(_INSTANCE, instance, strict=True)))),
                scope_logs=[ScopeLogs(scope=SCOPE, log_records=records)],
            )
            for instance, records in by_instance.items()
        ]
    )


def metrics(resource: Mapping[str, str], began_ns: int) -> ExportMetricsServiceRequest:
    """Return what exports all metrics of this process, which began to count then, as they stand."""
    found = [_metric(known, family, began_ns) for known, family in declared()]
    of_scope = pb.ScopeMetrics(scope=SCOPE, metrics=found)
    return ExportMetricsServiceRequest(
        resource_metrics=[pb.ResourceMetrics(resource=_resource(resource), scope_metrics=[of_scope])]
    )


def _as_today(span: Span) -> None:
    """Name things as the conventions do today, and leave out what an error is said of twice."""
    old = {each.key: each.value for each in span.attributes if each.key in _RENAMED or each.key in _REPLACED}
    if "rpc.service" in old:
        span.name = span.name.removeprefix("/")
        kept = [each for each in span.attributes if each.key not in old and each.key != "rpc.method"]
        renamed = [KeyValue(key=new, value=old[name]) for name, new in _RENAMED.items() if name in old]
        method = KeyValue(key="rpc.method", value=AnyValue(string_value=span.name))
        del span.attributes[:]
        span.attributes.extend((*kept, *renamed, method))
    said = [event for event in span.events if not (event.name == "exception" and _is_grpcs(event))]
    if len(said) < len(span.events):
        del span.events[:]
        span.events.extend(said)


def _is_grpcs(event: Span.Event) -> bool:
    """Whether an exception is how gRPC ends a call with an error, which the status says already."""
    kinds = (each.value.string_value for each in event.attributes if each.key == "exception.type")
    return next(kinds, "").endswith("AbortError")


def _record(line: Mapping[str, Any]) -> LogRecord:
    time: datetime = line["time"]
    level = str(line.get("level", "INFO"))
    return LogRecord(
        time_unix_nano=int(time.timestamp() * 1e6) * 1000,
        severity_number=_SEVERITIES.get(level, SeverityNumber.SEVERITY_NUMBER_ERROR),
        severity_text=level,
        body=AnyValue(string_value=str(line.get("message", ""))),
        attributes=[
            _attribute(_RENAMED_OF_RECORD.get(key, key), value) for key, value in line.items() if key not in _OF_RECORD
        ],
        trace_id=bytes.fromhex(line.get("trace", "")),
        span_id=bytes.fromhex(line.get("span", "")),
    )


def _metric(known: Declared, family: Metric, began_ns: int) -> pb.Metric:
    metric = pb.Metric(name=known.name, unit=known.unit, description=family.documentation)
    if family.type == "histogram":
        metric.histogram.aggregation_temporality = _CUMULATIVE
        metric.histogram.data_points.extend(_histograms(known, family.samples, began_ns))
    elif family.type == "counter":
        metric.sum.aggregation_temporality = _CUMULATIVE
        metric.sum.is_monotonic = True
        metric.sum.data_points.extend(_numbers(known, family.samples, began_ns))
    else:
        metric.gauge.data_points.extend(_numbers(known, family.samples, began_ns))
    return metric


def _numbers(known: Declared, samples: Sequence[Sample], began_ns: int) -> Iterator[pb.NumberDataPoint]:
    now = _now()
    for sample in samples:
        yield pb.NumberDataPoint(
            start_time_unix_nano=began_ns,
            time_unix_nano=now,
            as_double=sample.value,
            attributes=_attributes(known, sample.labels),
        )


def _histograms(known: Declared, samples: Sequence[Sample], began_ns: int) -> Iterator[pb.HistogramDataPoint]:
    """Yield a point for each set of labels; its samples come together: buckets up to each bound, count, sum."""
    now, bounds, upto, exemplars, count = _now(), list[float](), list[int](), list[pb.Exemplar](), 0
    for sample in samples:
        if sample.name.endswith("_bucket"):
            bounds.append(float(sample.labels["le"]))
            upto.append(int(sample.value))
            if sample.exemplar:
                exemplars.append(_exemplar(sample.exemplar))
        elif sample.name.endswith("_count"):
            count = int(sample.value)
        elif sample.name.endswith("_sum"):
            yield pb.HistogramDataPoint(
                start_time_unix_nano=began_ns,
                time_unix_nano=now,
                attributes=_attributes(known, sample.labels),
                explicit_bounds=bounds[:-1],  # the last is infinite
                bucket_counts=[n - before for n, before in zip(upto, [0, *upto], strict=False)],
                count=count,
                sum=sample.value,
                exemplars=exemplars,
            )
            bounds, upto, exemplars = [], [], []


def _exemplar(exemplar: Any) -> pb.Exemplar:
    return pb.Exemplar(
        as_double=exemplar.value,
        time_unix_nano=int((exemplar.timestamp or 0) * 1e9),
        trace_id=bytes.fromhex(exemplar.labels["trace_id"]),
        span_id=bytes.fromhex(exemplar.labels["span_id"]),
    )


def _attributes(known: Declared, labels: Mapping[str, str]) -> list[KeyValue]:
    """Return what a point is of; an attribute that is empty is one that it has not."""
    told = {known.attributes.get(label, label): value for label, value in labels.items() if value and label != "le"}
    return [_attribute(name, value) for name, value in {**known.always, **told}.items()]


def _attribute(key: str, value: Any) -> KeyValue:
    match value:
        case bool():
            return KeyValue(key=key, value=AnyValue(bool_value=value))
        case int() if -(2**63) <= value < 2**63:
            return KeyValue(key=key, value=AnyValue(int_value=value))
        case float():
            return KeyValue(key=key, value=AnyValue(double_value=value))
        case dict() | list():
            return KeyValue(key=key, value=AnyValue(string_value=orjson.dumps(value).decode()))
    return KeyValue(key=key, value=AnyValue(string_value=str(value)))


def _resource(fields: Mapping[str, str]) -> Resource:
    return Resource(attributes=[_attribute(key, value) for key, value in fields.items()])


def _now() -> int:
    return int(datetime.now().timestamp() * 1e9)
