"""Log records: from OTLP to rows, and from rows to what is told of them. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from services.telemetry.otlp import LARGEST_VALUE, Parts, Sender, cut, cut_text, is_time, more, text_of, texts

_SEVERITIES = (
    (17, pb.SEVERITY_ERROR),
    (13, pb.SEVERITY_WARNING),
    (9, pb.SEVERITY_INFO),
    (1, pb.SEVERITY_DEBUG),
    (0, pb.SEVERITY_UNSPECIFIED),
)
"""From which of OpenTelemetry's severity numbers on."""


class LogRow(NamedTuple):
    """A log record as it is stored: the columns of its table, without the one that counts them."""

    time_ns: int
    severity: int
    service: str
    instance: str
    trace_id: str
    data: bytes


class Reading(NamedTuple):
    """What a batch of log records holds."""

    rows: list[LogRow]
    invalid: int
    """Records whose ids or times cannot be."""
    cut: int
    """Attributes that were left out or shortened."""


def read(batch: ExportLogsServiceRequest, now_ns: int) -> Reading:
    """Read a batch; records that are too large are cut in place. TooManyParts."""
    rows, invalid, shortened, parts = [], 0, 0, Parts()
    for of_resource in parts.of(batch.resource_logs):
        sender = Sender.of(of_resource.resource)
        for of_scope in parts.of(of_resource.scope_logs):
            for record in parts.of(of_scope.log_records):
                time_ns = record.time_unix_nano or record.observed_time_unix_nano or now_ns
                if (
                    len(record.trace_id) not in (0, 16)
                    or len(record.span_id) not in (0, 8)
                    or not is_time(time_ns, now_ns)
                ):
                    invalid += 1
                    continue
                if record.ByteSize() > LARGEST_VALUE:
                    shortened += _cut(record)
                rows.append(_row(record, sender, time_ns))
    return Reading(rows, invalid, shortened)


def render(row: Any) -> pb.LogRecord:
    """Return what is told of a log record."""
    record = LogRecord.FromString(row["data"])
    told = pb.LogRecord(
        severity=row["severity"],
        service=row["service"],
        instance=row["instance"],
        message=text_of(record.body),
        trace=f"traces/{row['trace_id']}" if row["trace_id"] else "",
        span_id=record.span_id.hex(),
        attributes=texts(record.attributes),
    )
    told.time.FromNanoseconds(row["time_ns"])
    return told


def _row(record: LogRecord, sender: Sender, time_ns: int) -> LogRow:
    severity = next(severity for least, severity in _SEVERITIES if record.severity_number >= least)
    return LogRow(time_ns, severity, sender.service, sender.instance, record.trace_id.hex(), record.SerializeToString())


def _cut(record: LogRecord) -> int:
    record.DiscardUnknownFields()
    count = cut(record.attributes)
    if record.body.ByteSize() > LARGEST_VALUE:
        record.body.string_value = cut_text(text_of(record.body))
        count += 1
    record.dropped_attributes_count = more(record.dropped_attributes_count, count)
    record.severity_text, record.event_name = cut_text(record.severity_text), cut_text(record.event_name)
    return count
