"""Data as YAML that people read: mappings, lists, numbers and texts, which is all that rules are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | float | Mapping[str, Value] | Sequence[Value]"

_PLAIN = re.compile(r"[A-Za-z][\w./:-]*(?<!:)")
_NOT_TEXT = {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}


def dump(value: Value) -> str:
    """Return a mapping or a list as a document; texts that would need quoting stay as they are, as blocks."""
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{key}:", inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            first, *rest = _lines(inner)
            yield f"- {first}"
            yield from (f"  {line}" for line in rest)
    else:
        yield _scalar(value)


def _entry(key: str, value: Value) -> Iterator[str]:
    if isinstance(value, str) and ("\n" in value or '"' in value):
        yield f"{key} |-"
        yield from (f"  {line}" for line in value.splitlines())
    elif isinstance(value, (str, int, float)) or not value:
        yield f"{key} {_scalar(value)}"
    else:
        yield key
        yield from (f"  {line}" for line in _lines(value))


def _scalar(value: Value) -> str:
    is_plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT
    return str(value) if is_plain else json.dumps(value)
