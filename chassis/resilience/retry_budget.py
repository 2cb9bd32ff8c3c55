"""The retry budget: retries stay a small share of the calls, so that they never become what keeps a callee down."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from chassis.resilience.window import SlidingWindow


class RetryBudget:
    """What calls to one callee may be made a second time: `share` of them, and `floor_per_s` where those are few.

    Hedges count as retries. A share of 0 allows none at all.
    """

    def __init__(
        self,
        share: float = 0.1,
        floor_per_s: float = 3.0,
        window_s: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.withdrawn = 0
        """Since it was made."""
        self.withheld = 0
        """Since it was made."""
        self._share = share
        self._floor = floor_per_s * window_s if share else 0.0
        self._calls = SlidingWindow(window_s, clock)

    def count_call(self) -> None:
        """Note a call, which is not a retry."""
        self._calls.add()

    def withdraw(self) -> bool:
        """Return whether a retry may be made now; it is one then."""
        calls, retries = self._calls.totals()
        if retries + 1 > max(self._share * calls, self._floor):
            self.withheld += 1
            return False
        self._calls.add(0, marked=1)
        self.withdrawn += 1
        return True
