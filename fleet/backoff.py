"""How long to wait before a process that ended unasked is started again."""

from __future__ import annotations

_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.1, 5.0
_STEADY_AFTER_S = 10.0


class Backoff:
    """No wait at first, then twice as long each time, up to 5 s; forgotten once a process stayed for 10 s."""

    def __init__(self) -> None:
        self._next_delay_s = 0.0

    def delay_s(self, lived_s: float) -> float:
        """The wait after a process that ended unasked when it had lived so long."""
        if lived_s >= _STEADY_AFTER_S:
            self._next_delay_s = 0.0
        delay_s = self._next_delay_s
        self._next_delay_s = min(max(2 * delay_s, _FIRST_DELAY_S), _LONGEST_DELAY_S)
        return delay_s
