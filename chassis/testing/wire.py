"""How a gRPC call looks in HTTP and JSON, so that every Pact tool can read and replay it.

    POST /package.Service/Method      request metadata as headers, the request as JSON; a stream as an array
    200 grpc-status: 0                initial metadata as headers, trailers as `trailer-<key>`, the answer as JSON
    4xx or 5xx grpc-status: <code>    the body is `google.rpc.Status` as JSON, with its details;
                                      a stream that breaks has {"error": <that>} as its last element

JSON is the canonical form of proto3, with what is at its default left out: a field that got lost must not look like one
that is zero. Binary metadata (`-bin`) is in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import MessageToDict, ParseDict
from google.rpc import error_details_pb2 as _known_details
from google.rpc.status_pb2 import Status

Metadata = Iterable[tuple[str, str | bytes]]

STATUS, TRAILER, DETAILS = "grpc-status", "trailer-", "grpc-status-details-bin"
JSON = "application/json"
CODES = {code.value[0]: code for code in grpc.StatusCode}

_DETAIL_TYPES = frozenset(message.full_name for message in _known_details.DESCRIPTOR.message_types_by_name.values())
_HTTP = {
    0: 200, 1: 499, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 14: 503, 16: 401,
}  # fmt: skip
_NOISE = frozenset({
    "accept", "accept-encoding", "access-control-allow-origin", "access-control-allow-headers",
    "access-control-allow-methods", "access-control-expose-headers", "access-control-allow-credentials", "connection",
    "content-length", "content-type", "date", "host", "server", "te", "transfer-encoding", "user-agent",
})  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What a call was answered with, its messages in JSON form."""

    messages: list[Any] = field(default_factory=list)
    error: Status | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Initial metadata, as text."""
    trailers: Mapping[str, str] = field(default_factory=dict)

    def to_http(self, streaming: bool) -> tuple[int, dict[str, str], Any]:
        """Return HTTP status, headers and body."""
        code = self.error.code if self.error else 0
        headers = {STATUS: str(code), **self.headers, **{TRAILER + key: text for key, text in self.trailers.items()}}
        body: Any = status_to_json(self.error) if self.error else None
        if streaming:
            body = [*self.messages, {"error": body}] if self.error else self.messages
        elif not self.error:
            [body] = self.messages
        return _HTTP.get(code, 500), headers, body

    @classmethod
    def from_http(cls, headers: Mapping[str, str], body: Any, streaming: bool) -> Answer:
        """Read what `to_http` wrote."""
        kept = {key.lower(): text for key, text in headers.items() if key.lower() not in _NOISE}
        failed = kept.pop(STATUS) != "0"
        trailers = {key.removeprefix(TRAILER): text for key, text in kept.items() if key.startswith(TRAILER)}
        initial = {key: text for key, text in kept.items() if not key.startswith(TRAILER)}
        messages = list(body) if streaming else [body]
        error = None
        if failed:
            last = messages.pop()
            error = status_from_json(last["error"] if streaming else last)
        return cls(messages, error, initial, trailers)


def status_to_json(status: Status) -> Any:
    """Return a status as JSON; a detail of a type that not everybody knows stays in base64."""
    result = MessageToDict(Status(code=status.code, message=status.message))
    if status.details:
        result["details"] = [_detail_to_json(detail) for detail in status.details]
    return result


def status_from_json(value: Mapping[str, Any]) -> Status:
    """Read what `status_to_json` wrote."""
    status = Status(code=value.get("code", 0), message=value.get("message", ""))
    for detail in value.get("details", ()):
        status.details.append(_detail_from_json(detail))
    return status


def to_headers(metadata: Metadata) -> dict[str, str]:
    """Return metadata as headers; gRPC's own and HTTP's are left out."""
    return {
        key: value if isinstance(value, str) else base64.b64encode(value).decode()
        for key, value in metadata
        if key not in _NOISE and not key.startswith("grpc-")
    }


def to_metadata(headers: Mapping[str, str]) -> tuple[tuple[str, str | bytes], ...]:
    """Return headers as metadata; HTTP's own are left out."""
    named = ((key.lower(), text) for key, text in headers.items())
    return tuple(
        (key, base64.b64decode(text) if key.endswith("-bin") else text)
        for key, text in named
        if key not in _NOISE and not key.startswith("grpc-")
    )


def _detail_to_json(detail: AnyMessage) -> Any:
    if detail.TypeName() in _DETAIL_TYPES:
        return MessageToDict(detail)
    return {"@type": detail.type_url, "value": base64.b64encode(detail.value).decode()}


def _detail_from_json(value: Mapping[str, Any]) -> AnyMessage:
    if str(value["@type"]).rpartition("/")[2] in _DETAIL_TYPES:
        return ParseDict(dict(value), AnyMessage())
    return AnyMessage(type_url=value["@type"], value=base64.b64decode(value["value"]))
