"""Operations: the methods of the contracts as HTTP calls them, compiled once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import MethodDescriptor

from chassis.policy import Policy
from services.gateway.codec import Codec
from services.gateway.contract import Contract, bindings
from services.gateway.templates import Template
from services.gateway.transcoding import Transcoder

UNARY_TIMEOUT_S = 10.0
JSON = "application/json"
JSON_LINES = ("application/x-ndjson", "application/jsonl", JSON)


@dataclass(frozen=True)
class Operation:
    """A method, called by one HTTP method on one path template."""

    method: MethodDescriptor
    verb: str
    template: Template
    transcoder: Transcoder
    path: str
    """The method's path in gRPC."""
    timeout_s: float
    """How long a call may take when the client does not say."""
    content_types: tuple[str, ...]
    """Of the bodies it takes."""


def operations(contract: Contract, codec: Codec) -> Iterator[Operation]:
    """Yield all operations; ValueError when a rule does not fit its method.

    A method that streams both ways has none: HTTP/1.1 answers when a request has ended.
    """
    for method in contract.methods:
        if method.client_streaming and method.server_streaming:
            continue
        policy = Policy.of(method)
        for rule in bindings(method):
            verb, text = _pattern(rule)
            template = Template.parse(text)
            streams = method.client_streaming or method.server_streaming
            yield Operation(
                method=method,
                verb=verb,
                template=template,
                transcoder=Transcoder(method, rule, template, codec),
                path=policy.path,
                timeout_s=policy.timeout_s if streams else UNARY_TIMEOUT_S,
                content_types=JSON_LINES if method.client_streaming else (JSON,),
            )


def _pattern(rule: HttpRule) -> tuple[str, str]:
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        return rule.custom.kind.upper(), rule.custom.path
    return (kind or "").upper(), getattr(rule, kind) if kind else ""
