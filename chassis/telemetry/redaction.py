"""Messages as JSON without what is sensitive: fields that their contract marks `debug_redact`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

REDACTED = "[REDACTED]"

_ANY = AnyMessage.DESCRIPTOR.full_name


def redact(message: Message) -> dict[str, Any]:
    """Return a message as JSON has it, with `[REDACTED]` in place of each sensitive value that is set."""
    value: dict[str, Any] = MessageToDict(message)
    _hide(message.DESCRIPTOR, value)
    return value


def plain(value: object) -> Any:
    """Return a value as JSON has it, be it or hold it messages, those without what is sensitive; TypeError."""
    if value is None or isinstance(value, str | int | float):
        return value
    return orjson.loads(orjson.dumps(value, default=_plainer, option=orjson.OPT_UTC_Z))


def _plainer(value: object) -> object:
    """Return what JSON has no word for in simpler parts."""
    match value:
        case Message():
            return redact(value)
        case Mapping():
            return dict(value)
        case bytes() | bytearray() | memoryview():
            return str(value)
        case Sequence() | Set():
            return list(value)
    return str(value)


def _hide(message: Any, value: Any) -> None:
    """Replace what is sensitive in the JSON of a message, however deep."""
    if message.full_name == _ANY and "@type" in value:
        message = Default().FindMessageTypeByName(value["@type"].rpartition("/")[2])
    elif message.file.package == "google.protobuf":  # these are JSON of their own kind
        return
    for field in message.fields:
        if field.json_name not in value:
            continue
        if field.GetOptions().debug_redact:
            value[field.json_name] = REDACTED
        else:
            for nested, item in _nested(field, value[field.json_name]):
                _hide(nested, item)


def _nested(field: FieldDescriptor, value: Any) -> list[tuple[Descriptor, Any]]:
    """Return the messages in a field with their types: one, those of a list, or the values of a map."""
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        message, values = message.fields_by_name["value"].message_type, list(value.values())
    else:
        values = value if field.is_repeated else [value]
    return [(message, item) for item in values] if message is not None else []
