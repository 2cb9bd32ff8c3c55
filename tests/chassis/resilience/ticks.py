"""A clock that stands still until a test says otherwise."""

from __future__ import annotations


class Ticks:
    """Seconds, as `time.monotonic` has them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds
