"""One method's messages between HTTP and gRPC: path, query and body become the request; the response becomes JSON."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import orjson
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from chassis.errors import InvalidArgument, invalid_field
from services.gateway.codec import Codec
from services.gateway.errors import InvalidQuery
from services.gateway.fields import Parameter, expected, is_text, map_value, parameter, parameters
from services.gateway.templates import Template

LARGEST_QUERY = 5000
DEEPEST = 100
"""Levels of messages; the codec reads no more."""


class Transcoder:
    """Reads the requests and writes the responses of one method as one of its HTTP rules says."""

    def __init__(self, method: MethodDescriptor, rule: HttpRule, template: Template, codec: Codec) -> None:
        """Compile the rule; ValueError when it names fields the messages do not have."""
        self._type = method.input_type
        self._codec, self._codecs = codec.message(method.input_type.full_name), codec
        self._output = codec.message(method.output_type.full_name)
        self._path = {variable.field: parameter(self._type, variable.field) for variable in template.variables}
        self.takes_body = bool(rule.body)
        self.body = _field(self._type, rule.body) if rule.body not in ("", "*") else None
        """The field the body is; None where it is the whole request, or there is none."""
        self.response_body = _field(method.output_type, rule.response_body) if rule.response_body else None
        """The field that is answered; None for the whole response."""
        self.query = [] if rule.body == "*" else [found for found in parameters(self._type) if self._is_free(found)]
        """The fields that go into the query."""
        self._query = {name: found for found in self.query for name in (found.name, found.json_name)}

    def request(self, variables: Mapping[str, str], query: str, body: bytes) -> bytes:
        """Return the request in binary form; InvalidArgument names each field that is wrong."""
        value = self._read(body)
        for name, text in variables.items():
            self._path[name].put([text], value)
        if query:
            self._read_query(query, value)
        try:
            return self._codec.to_binary(value)
        except ValueError as error:
            raise self._explain(self._type, value, "") from error

    def response(self, data: bytes) -> bytes:
        """Return the JSON of a response in binary form."""
        if self.response_body:
            return self._output.field_to_json(data, self.response_body.json_name)
        return self._output.to_json(data)

    def _is_free(self, found: Parameter) -> bool:
        return found.name not in self._path and found.path[0] != self.body

    def _read(self, body: bytes) -> dict[str, Any]:
        if not body or body.isspace():
            return {}
        if not self.takes_body:
            raise invalid_field("body", "expected none: this method takes its request from the URL")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise invalid_field("body", f"not JSON: {error}") from error
        if self.body:
            return {self.body.json_name: value}
        if not isinstance(value, dict):
            raise invalid_field("body", "expected an object")
        return value

    def _read_query(self, query: str, value: dict[str, Any]) -> None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=LARGEST_QUERY)
        except ValueError as error:
            raise InvalidQuery(limit=LARGEST_QUERY) from error
        given: dict[str, list[str]] = {}
        for name, text in pairs:
            given.setdefault(name, []).append(text)
        for name, texts in given.items():
            if name not in self._query:
                raise _unknown(name, [found.name for found in self.query], "parameter")
            self._query[name].put(texts, value)

    def _explain(self, message: Descriptor, value: Any, path: str) -> InvalidArgument:
        """Find the innermost part of a value that does not fit its type, by trying each."""
        if path.count(".") > DEEPEST:
            return invalid_field("body", f"expected at most {DEEPEST} levels")
        if is_text(message) or not isinstance(value, dict):
            return invalid_field(path or "body", "expected an object")
        fields = {name: field for field in message.fields for name in (field.name, field.json_name)}
        codec = self._codecs.message(message.full_name)
        for name, item in value.items():
            here = f"{path}.{name}" if path else name
            if name not in fields:
                return _unknown(here, list(dict.fromkeys(field.json_name for field in message.fields)), "field")
            try:
                codec.to_binary({name: item})
            except ValueError:
                return self._explain_field(fields[name], item, here)
        return invalid_field(path or "body", f"does not fit {message.full_name}")

    def _explain_field(self, field: FieldDescriptor, value: Any, path: str) -> InvalidArgument:
        """Find what is wrong with the value of one field: itself, or something within."""
        nested = field.message_type
        if element := map_value(field):
            nested = element.message_type
            items = [(f"{path}[{key}]", item) for key, item in value.items()] if isinstance(value, dict) else []
        elif field.is_repeated:
            items = [(f"{path}[{index}]", item) for index, item in enumerate(value)] if isinstance(value, list) else []
        else:
            items = [(path, value)]
        if nested is not None and not is_text(nested):
            codec = self._codecs.message(nested.full_name)
            for here, item in items:
                try:
                    codec.to_binary(item)
                except ValueError:
                    return self._explain(nested, item, here)
        return invalid_field(path, expected(field))


def _field(message: Descriptor, name: str) -> FieldDescriptor:
    if name not in message.fields_by_name:
        raise ValueError(f"{message.full_name} has no field {name!r}")
    return message.fields_by_name[name]


def _unknown(name: str, known: list[str], kind: str) -> InvalidArgument:
    near = difflib.get_close_matches(name.rpartition(".")[2], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known) or 'none'}"
    return invalid_field(name, f"unknown {kind}; {hint}")
