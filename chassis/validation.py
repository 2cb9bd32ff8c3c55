"""The rules that protos state about their fields (protovalidate), as errors that name the fields."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from protovalidate import Validator

from chassis.errors import InvalidArgument, invalid_field

MOST_FIELDS = 20
"""An error names at most so many fields."""
WHOLE_BYTES = 64 * 1024
"""In a larger message the first fault is enough: to find all in one made of faults would take a minute."""

_validator = Validator()


def validate(message: Message) -> None:
    """Hold a message against the rules of its fields; InvalidArgument names those that break one."""
    violations = _validator.collect_violations(message, fail_fast=True)
    if violations and message.ByteSize() <= WHOLE_BYTES:
        violations = _validator.collect_violations(message)
        if "update_mask" in message.DESCRIPTOR.fields_by_name:
            violations = [violation for violation in violations if _in_mask(message, violation.proto.field)]
    if violations:
        fields = {_path(violation.proto.field): violation.proto.message for violation in violations[:MOST_FIELDS]}
        raise InvalidArgument("; ".join(f"{field}: {text}" for field, text in fields.items()), fields=fields)


def refuse_nul(message: Message, path: str = "") -> None:
    """Refuse the character NUL in any text, which PostgreSQL cannot store; InvalidArgument names the field."""
    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            items = [(f"[{key}]", entry) for key, entry in value.items()] + [(f"[{key}]", key) for key in value]
        elif field.is_repeated:
            items = [(f"[{index}]", entry) for index, entry in enumerate(value)]
        else:
            items = [("", value)]
        for suffix, item in items:
            if isinstance(item, Message):
                refuse_nul(item, f"{path}{field.name}{suffix}.")
            elif isinstance(item, str) and "\x00" in item:
                raise invalid_field(f"{path}{field.name}{suffix}", "expected text without the character NUL")


def _in_mask(message: Any, path: Any) -> bool:
    """Whether a field counts: those of the resource that update_mask does not name may be anything, also left out."""
    return len(path.elements) < 2 or path.elements[1].field_name in ("name", *message.update_mask.paths)


def _path(path: Any) -> str:
    """Return `lines[0].product` for a FieldPath."""
    return ".".join(
        element.field_name + (f"[{element.subscript.value}]" if element.subscript else "") for element in path.elements
    )
