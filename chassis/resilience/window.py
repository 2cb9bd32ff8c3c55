"""What happened over the last seconds: counts that slide with the time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic

SLICES = 10


class SlidingWindow:
    """Counts events, and those of them that are marked, over the last `length_s` seconds, to a tenth of that."""

    def __init__(self, length_s: float, clock: Callable[[], float] = monotonic) -> None:
        self._length_s = length_s
        self._clock = clock
        self._past: deque[tuple[float, int, int]] = deque()
        self._slice_end = clock() + length_s / SLICES
        self._count, self._marked = 0, 0
        self._slice_count, self._slice_marked = 0, 0

    def add(self, count: int = 1, marked: int = 0) -> None:
        """Count events of this moment."""
        now = self._clock()
        if now >= self._slice_end:
            self._slide(now)
        self._slice_count += count
        self._slice_marked += marked

    def totals(self) -> tuple[int, int]:
        """Return how many events there were, and how many of them are marked."""
        self._slide(self._clock())
        return self._count + self._slice_count, self._marked + self._slice_marked

    def clear(self) -> None:
        """Forget them."""
        self._past.clear()
        self._count, self._marked, self._slice_count, self._slice_marked = 0, 0, 0, 0

    def _slide(self, now: float) -> None:
        if now >= self._slice_end:
            self._past.append((self._slice_end, self._slice_count, self._slice_marked))
            self._count, self._marked = self._count + self._slice_count, self._marked + self._slice_marked
            self._slice_end = now + self._length_s / SLICES
            self._slice_count, self._slice_marked = 0, 0
        while self._past and self._past[0][0] <= now - self._length_s:
            _, count, marked = self._past.popleft()
            self._count, self._marked = self._count - count, self._marked - marked
