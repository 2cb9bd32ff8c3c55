"""What happened over the last seconds: counts that slide with the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

SLICES = 10


class SlidingWindow:
    """Counts events, and those of them that are marked, over the last `length_s` seconds, to a tenth of that."""

    def __init__(self, length_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._slice_s = length_s / SLICES
        self._clock = clock
        self._slices: deque[tuple[int, int, int]] = deque()
        self._now = 0
        self._here, self._marked_here = 0, 0
        self._count, self._marked = 0, 0

    def add(self, count: int = 1, marked: int = 0) -> None:
        """Count events of this moment."""
        self._slide()
        self._here += count
        self._marked_here += marked

    @property
    def count(self) -> int:
        """How many events there were."""
        self._slide()
        return self._count + self._here

    @property
    def marked(self) -> int:
        """How many of them are marked."""
        self._slide()
        return self._marked + self._marked_here

    def clear(self) -> None:
        """Forget them."""
        self._slices.clear()
        self._here, self._marked_here, self._count, self._marked = 0, 0, 0, 0

    def _slide(self) -> None:
        now = int(self._clock() / self._slice_s)
        if now == self._now:
            return
        self._slices.append((self._now, self._here, self._marked_here))
        self._count, self._marked = self._count + self._here, self._marked + self._marked_here
        self._now, self._here, self._marked_here = now, 0, 0
        while self._slices and self._slices[0][0] <= now - SLICES:
            _, count, marked = self._slices.popleft()
            self._count, self._marked = self._count - count, self._marked - marked
