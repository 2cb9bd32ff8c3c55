"""Spans: from OTLP to rows, and from rows to what is told of them. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from chassis.telemetry.spans import KEEP, SUBJECT
from services.telemetry.domain import REASONS
from services.telemetry.otlp import LARGEST_VALUE, Parts, Sender, cut, cut_off, cut_text, is_time, more, stored, texts

MOST_EVENTS = 32
"""And as many links."""


class SpanRow(NamedTuple):
    """A span as it is stored: the columns of its table."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    instance: str
    version: str
    start_ns: int
    end_ns: int
    failed: bool
    keep: str
    subject: str
    data: bytes


class Reading(NamedTuple):
    """What a batch of spans holds."""

    rows: list[SpanRow]
    invalid: int
    """Spans whose ids or times cannot be."""
    cut: int
    """Attributes, events and links that were left out or shortened."""


def read(batch: ExportTraceServiceRequest, now_ns: int) -> Reading:
    """Read a batch; spans that are too large are cut in place. TooManyParts."""
    rows, invalid, shortened, parts = [], 0, 0, Parts()
    for of_resource in parts.of(batch.resource_spans):
        sender = Sender.of(of_resource.resource)
        for of_scope in parts.of(of_resource.scope_spans):
            for span in parts.of(of_scope.spans):
                if not _is_valid(span, now_ns):
                    invalid += 1
                    continue
                if span.ByteSize() > LARGEST_VALUE:
                    shortened += _cut(span)
                rows.append(_row(span, sender))
    return Reading(rows, invalid, shortened)


def render(row: Any) -> pb.Span:
    """Return what is told of a span."""
    span = Span.FromString(row["data"])
    told = pb.Span(
        id=row["span_id"],
        parent_id=row["parent_id"],
        name=row["name"],
        kind=cast(pb.Span.Kind.ValueType, span.kind),  # the numbers are the same
        service=row["service"],
        instance=row["instance"],
        version=row["version"],
        failed=row["failed"],
        status_message=span.status.message,
        attributes=texts(span.attributes),
        links=[pb.SpanLink(trace=f"traces/{it.trace_id.hex()}", span_id=it.span_id.hex()) for it in span.links],
    )
    told.start_time.FromNanoseconds(row["start_ns"])
    told.duration.FromNanoseconds(row["end_ns"] - row["start_ns"])
    for event in span.events:
        told.events.add(name=event.name, attributes=texts(event.attributes)).time.FromNanoseconds(event.time_unix_nano)
    if span.dropped_attributes_count:
        told.attributes["otel.dropped_attributes_count"] = str(span.dropped_attributes_count)
    return told


def _is_valid(span: Span, now_ns: int) -> bool:
    ids = (span.trace_id, span.span_id, span.parent_span_id)
    return (
        len(ids[0]) == 16
        and len(ids[1]) == 8
        and len(ids[2]) in (0, 8)
        and any(ids[0])
        and any(ids[1])
        and is_time(span.start_time_unix_nano, now_ns)
        and is_time(span.end_time_unix_nano, now_ns)
    )


def _row(span: Span, sender: Sender) -> SpanRow:
    failed, keep, subject = span.status.code == Status.STATUS_CODE_ERROR, "", ""
    for attribute in span.attributes:
        key = attribute.key
        if key == KEEP:
            keep = attribute.value.string_value
        elif key == SUBJECT:
            subject = stored(attribute.value.string_value)
    if keep not in REASONS:
        keep = "error" if failed and span.kind == Span.SPAN_KIND_SERVER else ""
    start_ns = span.start_time_unix_nano
    return SpanRow(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        stored(span.name),
        *sender,
        start_ns,
        max(start_ns, span.end_time_unix_nano),
        failed,
        keep,
        subject,
        span.SerializeToString(),
    )


def _cut(span: Span) -> int:
    span.DiscardUnknownFields()
    count = cut(span.attributes)
    count += sum(cut(event.attributes) for event in span.events[:MOST_EVENTS])
    count += sum(cut(link.attributes) for link in span.links[:MOST_EVENTS])
    events, links = cut_off(span.events, MOST_EVENTS), cut_off(span.links, MOST_EVENTS)
    count += events + links
    span.dropped_attributes_count = more(span.dropped_attributes_count, count)
    span.dropped_events_count = more(span.dropped_events_count, events)
    span.dropped_links_count = more(span.dropped_links_count, links)
    span.name, span.trace_state, span.status.message = (
        cut_text(text) for text in (span.name, span.trace_state, span.status.message)
    )
    return count
