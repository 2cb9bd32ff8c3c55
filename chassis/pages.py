"""Pages of a list: `page_size`, `page_token` and `next_page_token` (https://google.aip.dev/158)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from chassis.errors import invalid_field

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 1000

MAX_PAGE_BYTES = 2 * 1024**2
"""A page ends early when its items are larger together, so that it fits into a message."""

Item = TypeVar("Item", bound=Message)


def page_limit(page_size: int) -> int:
    """Return how many a page holds: 0 means the default, more than the largest means the largest."""
    return min(page_size or DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE)


def position_of(page_token: str) -> int:
    """Return the number a token ends with, where items are numbered; 0 for the first page."""
    number = page_token.rpartition("/")[2] or "0"
    if not (number.isascii() and number.isdigit() and len(number) < 20 and int(number) < 2**63):
        raise invalid_field("page_token", "expected the next_page_token of the page before")
    return int(number)


@dataclass(frozen=True)
class Page(Generic[Item]):
    """One page, and the token of the next; empty on the last."""

    items: list[Item]
    next_page_token: str

    @classmethod
    def of(cls, items: Sequence[Item], page_size: int, token: Callable[[Item], str]) -> Page[Item]:
        """Make a page from its items, one more where there are more; a token is what the next page sorts after."""
        count = _fitting(items[: page_limit(page_size)])
        return cls(list(items[:count]), token(items[count - 1]) if len(items) > count else "")


def _fitting(items: Sequence[Message]) -> int:
    """Return how many of the first fit into a page: at least one, when there is one."""
    total_bytes = 0
    for count, item in enumerate(items):
        total_bytes += item.ByteSize()
        if total_bytes > MAX_PAGE_BYTES and count:
            return count
    return len(items)
