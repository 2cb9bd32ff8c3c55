"""What OTLP says of attributes and resources, as text, and cut to size. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from itertools import accumulate, islice
from typing import Any, NamedTuple, TypeVar

import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from chassis.errors import InvalidArgument

LARGEST_VALUE = 4000
"""Bytes of a value; a longer one is cut."""
LARGEST_TOGETHER = 20_000
"""Bytes of all attributes of something, of all events or all links of a span; what comes after is left out."""
MOST_ATTRIBUTES = 64
MOST_PARTS = 100_000
"""Resources, scopes and what is said of them, in one batch."""
LONGEST_NAME = 300
"""Characters of names."""
LARGEST_COUNT = 2**32 - 1
"""Of what is left out, as OTLP has it."""
AHEAD_NS = timedelta(hours=1) // timedelta(microseconds=1) * 1000
"""How far in the future a time may be: clocks differ, but a time that never comes would never be forgotten."""

Item = TypeVar("Item")


class TooManyParts(InvalidArgument):
    """A batch may have {most} parts at most."""


class Parts:
    """Counts the parts of a batch: very many very small ones would take time and memory as no others of its size."""

    def __init__(self) -> None:
        self._left = MOST_PARTS

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return what it has several of; TooManyParts."""
        self._left -= len(items)
        if self._left < 0:
            raise TooManyParts(most=MOST_PARTS)
        return items


class Sender(NamedTuple):
    """Who sent something: an instance of a service."""

    service: str
    instance: str
    version: str

    @property
    def is_one(self) -> bool:
        """Whether it is one process at a time for sure."""
        return self.instance != self.service

    @classmethod
    def of(cls, resource: Resource) -> Sender:
        """Read it from a resource; an instance that does not say which it is goes by its service's name."""
        known = {
            attribute.key: stored(attribute.value.string_value)
            for attribute in resource.attributes
            if attribute.key in _SENDER
        }
        service = known.get("service.name") or "unknown_service"
        return cls(service, known.get("service.instance.id") or service, known.get("service.version", ""))


def stored(text: str) -> str:
    """Return a name as it is stored: not too long, and without NUL, which PostgreSQL does not take."""
    return text[:LONGEST_NAME].replace("\0", "")


def text_of(value: AnyValue) -> str:
    """Return a value as text; lists and maps as JSON."""
    plain = _plain(value)
    return plain if isinstance(plain, str) else orjson.dumps(plain, default=str).decode()


def texts(attributes: Iterable[KeyValue]) -> dict[str, str]:
    """Return attributes as text by name."""
    return {attribute.key: text_of(attribute.value) for attribute in attributes}


def cut(attributes: Any) -> int:
    """Cut repeated KeyValue to size in place; return how many were left out or shortened."""
    shortened = 0
    for attribute in islice(attributes, MOST_ATTRIBUTES):
        if attribute.ByteSize() > LARGEST_VALUE:
            attribute.key = attribute.key[:LONGEST_NAME]
            attribute.value.string_value = cut_text(text_of(attribute.value))
            shortened += 1
    return shortened + cut_off(attributes, MOST_ATTRIBUTES)


def cut_off(items: Any, most: int) -> int:
    """Leave out, in place, the last of what is repeated: what is too much or too large together; return how many."""
    fitting = sum(total <= LARGEST_TOGETHER for total in accumulate(item.ByteSize() for item in islice(items, most)))
    left_out: int = len(items) - fitting
    del items[fitting:]
    return left_out


def more(count: int, by: int) -> int:
    """Return a count of what was left out with those that now are."""
    return min(count + by, LARGEST_COUNT)


def cut_text(text: str) -> str:
    """Return a text cut to size."""
    return text.encode()[:LARGEST_VALUE].decode(errors="ignore")


def is_time(time_ns: int, now_ns: int) -> bool:
    """Whether something may have happened then."""
    return 0 < time_ns < now_ns + AHEAD_NS


def _plain(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_plain(each) for each in value.array_value.values]
        case "kvlist_value":
            return {each.key: _plain(each.value) for each in value.kvlist_value.values}
        case "bytes_value":
            return value.bytes_value.hex()
        case None:
            return ""
        case kind:
            return getattr(value, kind)


_SENDER = frozenset(("service.name", "service.instance.id", "service.version"))
