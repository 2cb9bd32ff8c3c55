"""The deadline budget: all attempts of a call share the time that its caller waits."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic


class Deadline:
    """When a call has to be answered, `timeout_s` from now."""

    __slots__ = ("_at", "_clock")

    def __init__(self, timeout_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._at = clock() + timeout_s

    def left_s(self) -> float:
        """Return the seconds left, which the next attempt may take; none are left at 0 and below."""
        return self._at - self._clock()

    def allows(self, pause_s: float) -> bool:
        """Whether there is time for anything after a pause."""
        return self.left_s() > pause_s
