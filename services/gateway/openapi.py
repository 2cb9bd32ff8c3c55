"""The OpenAPI 3.1 document of all operations: https://spec.openapis.org/oas/v3.1.1."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from google.api.resource_pb2 import resource
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from services.gateway.comments import comments
from services.gateway.contract import Contract
from services.gateway.operations import JSON, JSON_LINES, Operation
from services.gateway.schemas import Schema, Schemas

EVENTS = "text/event-stream"

_STATUS: Schema = {
    "type": "object",
    "description": "google.rpc.Status: what went wrong, with details typed by `@type` (ErrorInfo, BadRequest).",
    "properties": {
        "code": {"type": "integer", "description": "One of google.rpc.Code."},
        "message": {"type": "string"},
        "details": {"type": "array", "items": {"type": "object", "properties": {"@type": {"type": "string"}}}},
    },
}
_HEADERS = {
    "Caller": ("X-Mercato-Caller", "Who calls; repeated requests are recognised for each caller.", {"type": "string"}),
    "TimeoutMs": ("X-Timeout-Ms", "How long the call may take, in milliseconds.", {"type": "integer", "minimum": 1}),
}


def document(contract: Contract, operations: Iterable[Operation]) -> dict[str, Any]:
    """Return the document; it uses only what OpenAPI 3.0 had already, so that older tools can read it."""
    texts = comments(contract.image)
    schemas = Schemas(texts)
    writer = _Writer(schemas, texts, _wildcards(contract))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path, item = writer.operation(operation)
        paths.setdefault(path, {})[operation.verb.lower()] = item
    return {
        "openapi": "3.1.0",
        "info": {"title": "Mercato", "version": "v1", "description": "Every service of the suite, as JSON over HTTP."},
        "tags": [
            {"name": service.name, "description": texts.get(service.full_name, "")} for service in contract.services
        ],
        "paths": paths,
        "components": {
            "schemas": {**dict(sorted(schemas.named.items())), "google.rpc.Status": _STATUS},
            "parameters": {
                key: {"name": name, "in": "header", "description": text, "schema": schema}
                for key, (name, text, schema) in _HEADERS.items()
            },
            "responses": {
                "Error": {
                    "description": "An error.",
                    "content": {JSON: {"schema": {"$ref": "#/components/schemas/google.rpc.Status"}}},
                }
            },
        },
    }


class _Writer:
    """Writes single operations."""

    def __init__(self, schemas: Schemas, texts: dict[str, str], wildcards: dict[str, str]) -> None:
        self._schemas = schemas
        self._texts = texts
        self._wildcards = wildcards

    def operation(self, operation: Operation) -> tuple[str, dict[str, Any]]:
        """Return the path and the description of an operation."""
        method, transcoder = operation.method, operation.transcoder
        path, names = self._path(operation)
        text = self._texts.get(method.full_name, "")
        item: dict[str, Any] = {
            "operationId": f"{method.containing_service.name}_{method.name}",
            "tags": [method.containing_service.name],
            "summary": text.replace("\n", " ").partition(". ")[0].rstrip("."),
            "description": text,
            "parameters": [
                *({"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names),
                *(
                    {"name": found.json_name, "in": "query", "schema": self._schemas.field(found.field)}
                    for found in transcoder.query
                ),
                *({"$ref": f"#/components/parameters/{key}"} for key in _HEADERS),
            ],
            "responses": {
                "200": {"description": self._answer(method), "content": self._content(operation)},
                "default": {"$ref": "#/components/responses/Error"},
            },
        }
        if transcoder.takes_body:
            kind = JSON_LINES[0] if method.client_streaming else JSON
            item["requestBody"] = {"required": True, "content": {kind: {"schema": self._request(operation)}}}
        return path, item

    def _path(self, operation: Operation) -> tuple[str, list[str]]:
        """Return the template with a name for each wildcard, as OpenAPI wants it."""
        names: list[str] = []
        segments: list[str] = []
        alone = {variable.start: variable.field for variable in operation.template.variables if variable.single}
        for number, (before, segment) in enumerate(pairwise(("", *operation.template.segments))):
            if segment in ("*", "**"):
                names.append(self._wildcards.get(before) or alone.get(number) or f"part{len(names) + 1}")
                segment = f"{{{names[-1]}}}"
            segments.append(segment)
        verb = f":{operation.template.verb}" if operation.template.verb else ""
        return "/" + "/".join(segments) + verb, names

    def _request(self, operation: Operation) -> Schema:
        body = operation.transcoder.body
        bound = [variable.field for variable in operation.template.variables]
        if body is None:
            return self._schemas.message(operation.method.input_type, bound)
        return self._schemas.field(body, [path.partition(".")[2] for path in bound if path.startswith(f"{body.name}.")])

    def _content(self, operation: Operation) -> dict[str, Any]:
        response: FieldDescriptor | None = operation.transcoder.response_body
        output = operation.method.output_type
        schema = self._schemas.field(response) if response else self._schemas.message(output)
        return {EVENTS if operation.method.server_streaming else JSON: {"schema": schema}}

    def _answer(self, method: MethodDescriptor) -> str:
        if method.server_streaming:
            return "Server-sent events: each `data` is one message; `event: error` carries a google.rpc.Status."
        return self._texts.get(method.output_type.full_name, "The response.")


def _wildcards(contract: Contract) -> dict[str, str]:
    """Return what the id after a collection is called, from the resources' patterns: `orders` has `order`."""
    return {
        before: segment.strip("{}")
        for service in contract.services
        for message in service.file.message_types_by_name.values()
        for pattern in message.GetOptions().Extensions[resource].pattern
        for before, segment in pairwise(pattern.split("/"))
        if segment.startswith("{")
    }
