"""What this service is told by its own environment variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from chassis.settings import InvalidSetting

Value = TypeVar("Value")


@dataclass(frozen=True)
class Options:
    """What is kept, and how much of it."""

    keep_ratio: float = 1.0
    """The share of traces that is kept of those with nothing remarkable."""
    retention: timedelta = timedelta(hours=24)
    """How long everything is kept but what objectives need."""
    max_spans: int = 1_000_000
    max_logs: int = 1_000_000
    max_points: int = 1_000_000

    @classmethod
    def of(cls, told: Mapping[str, str]) -> Options:
        """Read them, `keep_ratio` from MERCATO_TELEMETRY_KEEP_RATIO and so on; InvalidSetting."""
        return cls(
            keep_ratio=_read(told, "keep_ratio", "1", float, lambda it: 0 <= it <= 1, "a number from 0 to 1"),
            retention=timedelta(
                hours=_read(told, "retention_h", "24", float, lambda it: 0 < it <= 8760, "hours, up to 8760")
            ),
            **{
                name: _read(told, name, "1000000", int, lambda it: it > 0, "a whole number above zero")
                for name in _MAXIMA
            },
        )


_MAXIMA = ("max_spans", "max_logs", "max_points")


def _read(
    told: Mapping[str, str],
    name: str,
    default: str,
    parse: Callable[[str], Value],
    holds: Callable[[Value], bool],
    expected: str,
) -> Value:
    text = told.get(name) or default
    try:
        value = parse(text)
    except ValueError:
        pass
    else:
        if holds(value):
            return value
    raise InvalidSetting(variable=f"MERCATO_TELEMETRY_{name.upper()}", value=text, expected=expected)
