"""Fields as the URL has them: by path and as text; and what is expected of each, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chassis.errors import invalid_field

_TEXT_FORMS = {
    "google.protobuf.Timestamp": "a time such as 2010-12-01T08:26:00Z",
    "google.protobuf.Duration": "seconds such as 3.5s",
    "google.protobuf.FieldMask": "paths of fields such as title,etag",
    "google.protobuf.StringValue": "text",
    "google.protobuf.BytesValue": "base64",
    "google.protobuf.BoolValue": "true or false",
    **{
        f"google.protobuf.{kind}Value": "a number" for kind in ("Int32", "UInt32", "Int64", "UInt64", "Float", "Double")
    },
}
"""The messages of which the JSON form is not an object, so that they fit a parameter."""

_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number of 32 bits",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number of 32 bits, zero or more",
    FieldDescriptor.CPPTYPE_INT64: "a whole number of 64 bits",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number of 64 bits, zero or more",
    FieldDescriptor.CPPTYPE_FLOAT: "a number",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number",
    FieldDescriptor.CPPTYPE_BOOL: "true or false",
    FieldDescriptor.CPPTYPE_STRING: "text",
}


@dataclass(frozen=True)
class Parameter:
    """A field a URL can set."""

    path: tuple[FieldDescriptor, ...]
    """From the request down to the field."""

    @property
    def field(self) -> FieldDescriptor:
        """The field itself."""
        return self.path[-1]

    @property
    def name(self) -> str:
        """Its path as the proto spells it: `product.name`."""
        return ".".join(field.name for field in self.path)

    @property
    def json_name(self) -> str:
        """Its path as JSON spells it."""
        return ".".join(field.json_name for field in self.path)

    def put(self, texts: list[str], request: dict[str, Any]) -> None:
        """Set the field in a request's JSON value; InvalidArgument when it fits neither the type nor what is there."""
        value: Any
        if self.field.is_repeated:
            value = [self._value(text) for text in texts]
        elif len(texts) == 1:
            value = self._value(texts[0])
        else:
            raise invalid_field(self.name, "expected once")
        place = request
        for parent in self.path[:-1]:
            if parent.name in place:
                place[parent.json_name] = place.pop(parent.name)
            place = place.setdefault(parent.json_name, {})
            if not isinstance(place, dict):
                raise invalid_field(self.name, "expected its parent to be an object")
        spelt = self.field.name if self.field.name in place else self.field.json_name
        if place.setdefault(spelt, value) != value:
            raise invalid_field(self.name, "the body says otherwise than the URL")

    def _value(self, text: str) -> Any:
        """Return the JSON value a text stands for. Numbers may stay text: JSON allows that for all of them."""
        field = self.field
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL or _type_name(field) == "google.protobuf.BoolValue":
            if text not in ("true", "false"):
                raise invalid_field(self.name, expected(field))
            return text == "true"
        if field.enum_type and text.removeprefix("-").isdecimal() and text.isascii():
            return int(text[:12])
        return text


def parameters(message: Descriptor, parents: tuple[FieldDescriptor, ...] = ()) -> Iterator[Parameter]:
    """Yield every field of a message that fits a URL, nested ones too; a message within itself is not entered."""
    for field in message.fields:
        path = (*parents, field)
        nested = field.message_type
        if nested is None or nested.full_name in _TEXT_FORMS:
            yield Parameter(path)
        elif not field.is_repeated and all(nested != parent.containing_type for parent in path):
            yield from parameters(nested, path)


def parameter(message: Descriptor, name: str) -> Parameter:
    """Return the field at a path such as `product.name`; ValueError when a URL cannot set it."""
    for candidate in parameters(message):
        if candidate.name == name:
            return candidate
    raise ValueError(f"{message.full_name} has no field {name!r} that fits a URL")


def expected(field: FieldDescriptor) -> str:
    """Return what a value of the field is, in words."""
    one = _TEXT_FORMS.get(_type_name(field)) or _SCALARS.get(field.cpp_type) or "an object"
    if field.enum_type:
        one = "one of " + ", ".join(value.name for value in field.enum_type.values)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        one = "base64"
    if map_value(field):
        return "expected an object from keys to values"
    return f"expected a list, each {one}" if field.is_repeated else f"expected {one}"


def map_value(field: FieldDescriptor) -> FieldDescriptor | None:
    """Return what a map's values are; None for a field that is not a map."""
    entry = field.message_type
    return entry.fields_by_name["value"] if entry is not None and entry.GetOptions().map_entry else None


def is_text(message: Descriptor) -> bool:
    """Whether the JSON form of a message is one value instead of an object."""
    return message.full_name in _TEXT_FORMS


def _type_name(field: FieldDescriptor) -> str:
    return field.message_type.full_name if field.message_type else ""
