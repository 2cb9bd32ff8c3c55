"""The rules that protos state about their fields (protovalidate), as errors that name the fields."""

from __future__ import annotations

from typing import Any

from google.protobuf.message import Message
from protovalidate import Validator

from chassis.errors import InvalidArgument

MOST_FIELDS = 20
"""An error names at most so many fields."""

_validator = Validator()


def validate(message: Message) -> None:
    """Hold a message against the rules of its fields; InvalidArgument names those that break one."""
    violations = _validator.collect_violations(message)
    if violations and "update_mask" in message.DESCRIPTOR.fields_by_name:
        violations = [violation for violation in violations if _in_mask(message, violation.proto.field)]
    if violations:
        fields = {_path(violation.proto.field): violation.proto.message for violation in violations[:MOST_FIELDS]}
        raise InvalidArgument("; ".join(f"{field}: {text}" for field, text in fields.items()), fields=fields)


def _in_mask(message: Any, path: Any) -> bool:
    """Whether a field counts: those of the resource that update_mask does not name may be anything, also left out."""
    return len(path.elements) < 2 or path.elements[1].field_name in ("name", *message.update_mask.paths)


def _path(path: Any) -> str:
    """Return `lines[0].product` for a FieldPath."""
    return ".".join(
        element.field_name + (f"[{element.subscript.value}]" if element.subscript else "") for element in path.elements
    )
