"""Which traces are recorded: decided once, where a trace begins, for all who take part in it."""

from __future__ import annotations

import random
from collections.abc import Callable
from time import monotonic

from chassis.telemetry.trace import Trace


class Sampler:
    """Records a share of all traces, and at most so many a second: who looks around sees all, a load costs little."""

    def __init__(self, ratio: float, most_per_second: float = 0.0, clock: Callable[[], float] = monotonic) -> None:
        """Take a share from 0 to 1, and how many a second; 0 for as many as the share gives."""
        self._ratio = ratio
        self._most_per_second = most_per_second
        self._clock = clock
        self._room = most_per_second
        self._looked_s = clock()

    def start(self) -> Trace:
        """Begin a trace."""
        return Trace.start(sampled=self.decide())

    def decide(self) -> bool:
        """Decide whether a trace that begins now is recorded."""
        if not (self._ratio and random.random() < self._ratio):
            return False
        if not self._most_per_second:
            return True
        now = self._clock()
        self._room = min(self._room + (now - self._looked_s) * self._most_per_second, max(self._most_per_second, 1.0))
        self._looked_s = now
        if self._room < 1:
            return False
        self._room -= 1
        return True
