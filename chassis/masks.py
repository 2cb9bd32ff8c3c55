"""Update masks: which fields of a resource a request changes (https://google.aip.dev/161)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from chassis.errors import invalid_field


def masked(mask: FieldMask, changeable: Collection[str], field: str = "update_mask") -> Sequence[str]:
    """Return the paths of a mask; InvalidArgument names `field` when it is empty or names what cannot be changed."""
    if not mask.paths or not set(mask.paths) <= set(changeable):
        raise invalid_field(field, f"expected one or more of {', '.join(changeable)}")
    return list(mask.paths)
