"""Messages between their binary and their JSON form.

The converter is protobuf-py, which protovalidate brings along: its native code takes an eighth of the time that
google.protobuf.json_format does, and this is most of what the gateway does. It reads values, never raw text: its own
JSON parser has no limit of depth, orjson's has.
"""

from __future__ import annotations

from typing import Any

import orjson
from protobuf import Message, message_from_json_value, message_to_json_value
from protobuf.wkt import FileDescriptorSet


class Codec:
    """Converts the messages of one image of descriptors."""

    def __init__(self, image: bytes) -> None:
        self._registry = FileDescriptorSet.from_binary(image).to_registry()

    def message(self, full_name: str) -> MessageCodec:
        """Return the converter of one message type."""
        descriptor = self._registry.message(full_name)
        assert descriptor is not None
        return MessageCodec(descriptor.type)


class MessageCodec:
    """Converts one message type."""

    def __init__(self, message: type[Message]) -> None:
        self._message = message

    def to_binary(self, value: Any) -> bytes:
        """Turn a value out of JSON into the binary form; ValueError when it does not fit the type."""
        try:
            return message_from_json_value(self._message, value).to_binary()
        except (TypeError, ArithmeticError, RecursionError) as error:
            raise ValueError(str(error)) from error

    def to_json(self, data: bytes) -> bytes:
        """Turn the binary form into JSON, fields with their default value left out."""
        return self._message.from_binary(data).to_json().encode()

    def field_to_json(self, data: bytes, name: str) -> bytes:
        """Turn one field of a message in binary form into JSON, by its JSON name; null when it is not set."""
        value: Any = message_to_json_value(self._message.from_binary(data))
        return orjson.dumps(value.get(name))
