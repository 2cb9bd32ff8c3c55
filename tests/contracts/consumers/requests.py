"""A request for any method, and how it looks in HTTP: both are made from the descriptors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

ID = "a1"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
MESSAGES: Mapping[str, Any] = {
    "google.protobuf.Duration": "60s",
    "google.type.Money": {"currencyCode": "GBP", "units": "2"},
    "google.type.PostalAddress": {"regionCode": "GB", "addressLines": ["1 High Street"]},
}
"""In JSON, by their full names."""
FIELDS: Mapping[str, Any] = {
    "currency_code": "GBP",
    "email": "ada@customers.example",
    "order_by": "name desc",
    "page_token": "1",
    "region_code": "GB",
    "mercato.catalog.v1.UpdateProductRequest.update_mask": "title",
    "mercato.customers.v1.UpdateCustomerRequest.update_mask": "email",
    "mercato.mesh.v1.Policy.name": f"policies/{ID}",
    "mercato.mesh.v1.ResetPoliciesRequest.name": f"policies/{ID}",
    "mercato.mesh.v1.UpdatePolicyRequest.update_mask": "maxRequests",
    "mercato.telemetry.v1.GetTraceRequest.name": f"traces/{TRACE_ID}",
    "mercato.telemetry.v1.ListLogsRequest.trace": f"traces/{TRACE_ID}",
    "request_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
}
"""What the rules of a field do not tell, by its name, or its full name where that says too little."""


def request_of(method: MethodDescriptor) -> Message:
    """Return a request in which everything is set that a client may set, as its rules say."""
    return ParseDict(_message(method.input_type), GetMessageClass(method.input_type)())


@dataclass(frozen=True)
class HttpRequest:
    """A request as an HTTP client sends it."""

    verb: str
    path: str
    query: Mapping[str, Any] | None = None
    body: Any = None

    @classmethod
    def of(cls, rule: HttpRule, request: Message) -> HttpRequest:
        """Return how a request looks by a rule: what its path does not take goes into the body or the query."""
        verb, left = str(rule.WhichOneof("pattern")), MessageToDict(request)
        path = re.sub(r"\{([\w.]+)(?:=[^}]*)?\}", lambda variable: _take(left, variable[1]), getattr(rule, verb))
        if rule.body == "*":
            return cls(verb.upper(), path, body=left)
        return cls(verb.upper(), path, query=left)


def _take(value: Any, path: str) -> str:
    *parents, last = path.split(".")
    for parent in parents:
        value = value[parent]
    taken: str = value.pop(last)
    return taken


def _message(message: Descriptor) -> Any:
    if message.full_name in MESSAGES:
        return MESSAGES[message.full_name]
    return {field.name: _field(field) for field in message.fields if _is_input(field)}


def _field(field: FieldDescriptor) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {ID: _value(field.message_type.fields_by_name["value"])}
    return [_value(field)] if field.is_repeated else _value(field)


def _value(field: FieldDescriptor) -> Any:
    if (known := FIELDS.get(field.full_name, FIELDS.get(field.name))) is not None:
        return known
    if field.message_type:
        return _message(field.message_type)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        rules = field.GetOptions().Extensions[validate_pb2.field]
        pattern = rules.string.pattern or rules.repeated.items.string.pattern
        return re.sub(r"\[.*?\]\{.*?\}", ID, pattern.strip("^$")) or ID
    return True if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL else 2


def _is_input(field: FieldDescriptor) -> bool:
    """Whether a client may set it; times it may leave to the service, and does."""
    time = field.message_type is not None and field.message_type.full_name == "google.protobuf.Timestamp"
    return not time and OUTPUT_ONLY not in field.GetOptions().Extensions[field_behavior]
