"""Errors as HTTP tells them: a status of its own, and google.rpc.Status as JSON in the body."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from math import ceil
from typing import Any

import grpc
import orjson
from aiohttp.web import Response
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import Error as JsonError
from google.protobuf.json_format import MessageToDict
from google.rpc import error_details_pb2  # which makes its messages known too, so that details are typed
from google.rpc.status_pb2 import Status

from chassis.errors import MercatoError
from chassis.status import DETAILS, to_status
from services.gateway.errors import HttpError

# As google/rpc/code.proto maps them.
_HTTP = {
    0: 200, 1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403,
    8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503, 15: 500, 16: 401,
}  # fmt: skip
_RETRY_AFTER_S = {429: 1, 503: 1}
"""Where the error itself does not say."""


def failure(error: MercatoError | grpc.aio.AioRpcError) -> tuple[int, Status]:
    """Return the HTTP status and the status of an error, made here or answered by a service."""
    if isinstance(error, grpc.aio.AioRpcError):
        status = _answered(error)
        return _HTTP.get(status.code, 500), status
    status = to_status(error)
    return error.http_status if isinstance(error, HttpError) else _HTTP[error.code], status


def error_response(error: MercatoError | grpc.aio.AioRpcError, headers: Mapping[str, str]) -> Response:
    """Return the answer that tells an error."""
    http_status, status = failure(error)
    further = {"Content-Type": "application/json"}
    if http_status in _RETRY_AFTER_S:
        further["Retry-After"] = str(_told_s(status) or _RETRY_AFTER_S[http_status])
    if http_status == 405 and isinstance(error, MercatoError):
        further["Allow"] = error.data["allowed"]
    return Response(status=http_status, body=status_json(status), headers={**headers, **further})


def status_json(status: Status) -> bytes:
    """Return a status as JSON, its details typed by `@type`."""
    details = [_detail(detail) for detail in status.details]
    return orjson.dumps({"code": status.code, "message": status.message, "details": details})


def _answered(error: grpc.aio.AioRpcError) -> Status:
    """Return what a service answered. When none did, the text is gRPC's own and names our addresses: it stays here."""
    code: int = error.code().value[0]
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            return Status.FromString(value)
    if error.code() is grpc.StatusCode.UNAVAILABLE:
        return Status(code=code, message="The service could not be reached.")
    return Status(code=code, message=error.details() or "")


def _told_s(status: Status) -> int:
    """Return after how many whole seconds the error says to come again; 0 where it does not say."""
    info = error_details_pb2.RetryInfo()
    return next((ceil(info.retry_delay.ToMilliseconds() / 1000) for each in status.details if each.Unpack(info)), 0)


def _detail(detail: Packed) -> dict[str, Any]:
    try:
        return MessageToDict(detail)
    except (TypeError, JsonError):  # of a type that is not known here
        return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}
