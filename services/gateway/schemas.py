"""JSON Schemas of messages in their JSON form, with their comments and those rules that JSON Schema can say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from buf.validate import validate_pb2
from google.api.field_behavior_pb2 import OUTPUT_ONLY, field_behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from services.gateway.fields import map_value

Schema = dict[str, Any]

_WELL_KNOWN: dict[str, Schema] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "example": "3.5s"},
    "google.protobuf.FieldMask": {"type": "string", "description": "Paths of fields, separated by commas."},
    "google.protobuf.Any": {"type": "object", "properties": {"@type": {"type": "string"}}},
    "google.protobuf.Struct": {"type": "object"},
    "google.protobuf.ListValue": {"type": "array", "items": {}},
    "google.protobuf.Value": {},
}
_WRAPPERS = {f"google.protobuf.{kind}Value": kind for kind in (
    "Bool", "Int32", "UInt32", "Int64", "UInt64", "Float", "Double", "String", "Bytes",
)}  # fmt: skip
_SCALARS: dict[int, Schema] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.CPPTYPE_INT64: {"type": "string", "format": "int64", "example": "1"},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "string", "format": "uint64", "example": "1"},
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}


class Schemas:
    """The schemas of all messages that were asked for, and of those within them."""

    def __init__(self, comments: dict[str, str]) -> None:
        self._comments = comments
        self.named: dict[str, Schema] = {}
        """By full name."""

    def message(self, message: Descriptor, without: Iterable[str] = ()) -> Schema:
        """Return the schema of a message: a reference, or written out where some fields (by path) are left out."""
        name = message.full_name
        if name in _WELL_KNOWN:
            return dict(_WELL_KNOWN[name])
        if name in _WRAPPERS:
            return self.field(message.fields_by_name["value"])
        without = list(without)
        if without:
            return self._object(message, without)
        if name not in self.named:
            self.named[name] = {}  # it may contain itself
            self.named[name] = self._object(message, [])
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, without: Iterable[str] = ()) -> Schema:
        """Return the schema of a field, its rules and comment included."""
        rules = field.GetOptions().Extensions[validate_pb2.field]
        if value := map_value(field):
            schema: Schema = {"type": "object", "additionalProperties": self.field(value)}
        elif field.is_repeated:
            schema = {
                "type": "array",
                "items": self._one(field, rules.repeated.items, ()),
                **_list_rules(rules.repeated),
            }
        else:
            schema = self._one(field, rules, without)
        further: Schema = {}
        if text := self._comments.get(field.full_name):
            further["description"] = text
        if OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior]:
            further["readOnly"] = True
        return {"allOf": [schema], **further} if further and "$ref" in schema else schema | further

    def _one(self, field: FieldDescriptor, rules: validate_pb2.FieldRules, without: Iterable[str]) -> Schema:
        if field.message_type:
            return self.message(field.message_type, without)
        if field.enum_type:
            return self._enum(field.enum_type)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return {"type": "string", "format": "byte"}
        return _SCALARS[field.cpp_type] | _scalar_rules(rules)

    def _object(self, message: Descriptor, without: list[str]) -> Schema:
        properties: dict[str, Schema] = {}
        required: list[str] = []
        for field in message.fields:
            if field.name in without:
                continue
            rest = [path.partition(".")[2] for path in without if path.startswith(f"{field.name}.")]
            properties[field.json_name] = self.field(field, rest)
            if field.GetOptions().Extensions[validate_pb2.field].required:
                required.append(field.json_name)
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if required:
            schema["required"] = required
        if text := self._comments.get(message.full_name):
            schema["description"] = text
        return schema

    def _enum(self, enum: EnumDescriptor) -> Schema:
        name = enum.full_name
        lines = [self._comments.get(name, "")]
        lines += [f"- `{value.name}`: {self._comments.get(f'{name}.{value.name}', '')}" for value in enum.values]
        values = [value.name for value in enum.values]
        text = "\n".join(lines).strip()
        self.named[name] = {"type": "string", "enum": values, "example": values[-1], "description": text}
        return {"$ref": f"#/components/schemas/{name}"}


def _scalar_rules(rules: validate_pb2.FieldRules) -> Schema:
    """Return what protovalidate asks of a text or number, in JSON Schema's words."""
    kind = rules.WhichOneof("type")
    given: Message | None = getattr(rules, kind) if kind else None
    if given is None:
        return {}
    values = {descriptor.name: value for descriptor, value in given.ListFields()}
    if kind == "string":
        names = {"pattern": "pattern", "min_len": "minLength", "max_len": "maxLength"}
        formats = [form for form in ("uuid", "email", "uri") if values.get(form)]
        schema = {word: values[rule] for rule, word in names.items() if rule in values}
        return schema | {"format": formats[0]} if formats else schema
    if kind in ("int32", "uint32", "float", "double"):
        return {word: values[rule] for rule, word in {"gte": "minimum", "lte": "maximum"}.items() if rule in values}
    return {}


def _list_rules(rules: validate_pb2.RepeatedRules) -> Schema:
    """Return what protovalidate asks of a list."""
    names = {"min_items": "minItems", "max_items": "maxItems", "unique": "uniqueItems"}
    return {names[field.name]: value for field, value in rules.ListFields() if field.name in names}
