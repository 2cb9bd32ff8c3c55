"""Errors on the wire: `google.rpc.Status` with ErrorInfo, BadRequest and RetryInfo, both ways."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from chassis.errors import CANONICAL, Internal, MercatoError, Unknown

DOMAIN = "mercato.example"
DETAILS = "grpc-status-details-bin"
PUSHBACK = "grpc-retry-pushback-ms"
"""The trailer by which a callee says when to try again, in milliseconds; below zero: never (gRFC A6)."""
CODES = {code.value[0]: code for code in grpc.StatusCode}
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes by which a server says that it failed; by the others it refuses.

https://opentelemetry.io/docs/specs/semconv/rpc/grpc/ has a server's span fail with these alone.
"""
MESSAGE_BYTES, VALUE_BYTES, FIELDS_BYTES = 900, 200, 2000
"""Texts are cut to these: errors travel in headers, of which peers take 8 KB, and the message travels twice."""


def to_status(error: MercatoError) -> Status:
    """Return an error as it travels. Internal errors travel without their text."""
    text = "Internal error." if isinstance(error, Internal) else error.message
    status = Status(code=error.code, message=_cut(text, MESSAGE_BYTES))
    data = {key: _cut(value, VALUE_BYTES) for key, value in error.data.items()}
    status.details.append(_packed(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=data)))
    if error.fields:
        bad_request = BadRequest()
        for field, expected in error.fields.items():
            bad_request.field_violations.add(field=_cut(field, VALUE_BYTES), description=_cut(expected, VALUE_BYTES))
        while bad_request.ByteSize() > FIELDS_BYTES:
            bad_request.field_violations.pop()
        status.details.append(_packed(bad_request))
    if error.retry_after_s is not None:
        retry_info = RetryInfo()
        retry_info.retry_delay.FromMilliseconds(_milliseconds(error.retry_after_s))
        status.details.append(_packed(retry_info))
    return status


def to_trailers(error: MercatoError, status: Status) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata of a call that ends with an error."""
    details = (DETAILS, status.SerializeToString())
    if error.retry_after_s is None:
        return (details,)
    return (details, (PUSHBACK, str(_milliseconds(error.retry_after_s))))


def from_rpc_error(error: grpc.aio.AioRpcError) -> MercatoError:
    """Return what a callee answered as the error it was: class by code; reason, data and fields by the details."""
    metadata = error.trailing_metadata() or ()
    raw = next((value for key, value in metadata if key == DETAILS), b"")
    result = CANONICAL.get(error.code().value[0], Unknown)(error.details() or "no details")
    for detail in _details(raw if isinstance(raw, bytes) else raw.encode()):
        info, bad_request, retry_info = ErrorInfo(), BadRequest(), RetryInfo()
        if detail.Unpack(info):
            result.reason, result.data = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            result.fields = {violation.field: violation.description for violation in bad_request.field_violations}
        elif detail.Unpack(retry_info):
            result.retry_after_s = retry_info.retry_delay.ToMilliseconds() / 1000
    return result


def _details(raw: bytes) -> list[Any]:
    try:
        return list(Status.FromString(raw).details)
    except DecodeError:  # not by one of ours, and no reason to lose the error
        return []


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else raw[: most_bytes - 3].decode(errors="ignore") + "…"


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _packed(detail: ErrorInfo | BadRequest | RetryInfo) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
