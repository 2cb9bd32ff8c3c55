"""Errors on the wire: `google.rpc.Status` with ErrorInfo and BadRequest, both ways."""

from __future__ import annotations

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from chassis.errors import CANONICAL, Internal, MercatoError, Unknown

DOMAIN = "mercato.example"
DETAILS = "grpc-status-details-bin"
CODES = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: MercatoError) -> Status:
    """Return an error as it travels. Internal errors travel without their text."""
    status = Status(code=error.code, message="Internal error." if isinstance(error, Internal) else error.message)
    status.details.append(_packed(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.data)))
    if error.fields:
        violations = [BadRequest.FieldViolation(field=field, description=text) for field, text in error.fields.items()]
        status.details.append(_packed(BadRequest(field_violations=violations)))
    return status


def from_rpc_error(error: grpc.aio.AioRpcError) -> MercatoError:
    """Return what a callee answered as the error it was: class by code; reason, data and fields by the details."""
    metadata = error.trailing_metadata() or ()
    raw = next((value for key, value in metadata if key == DETAILS), b"")
    status = Status.FromString(raw if isinstance(raw, bytes) else raw.encode()) if raw else Status()
    result = CANONICAL.get(error.code().value[0], Unknown)(error.details() or "no details")
    for detail in status.details:
        info, bad_request = ErrorInfo(), BadRequest()
        if detail.Unpack(info):
            result.reason, result.data = info.reason, dict(info.metadata)
        elif detail.Unpack(bad_request):
            result.fields = {violation.field: violation.description for violation in bad_request.field_violations}
    return result


def _packed(detail: ErrorInfo | BadRequest) -> Any:
    packed = Any()
    packed.Pack(detail)
    return packed
