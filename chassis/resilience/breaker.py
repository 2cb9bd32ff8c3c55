"""The circuit breaker: who keeps failing is left alone for a while, then tried with a few calls.

CLOSED ──too many of the last calls failed──> OPEN ──after a while──> HALF_OPEN ──the probes succeed──> CLOSED
                                                ^                          │  │
                                                └──────a probe fails───────┘  └──none failed for long──> CLOSED
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from time import monotonic

from chassis.errors import Unavailable
from chassis.resilience.window import SlidingWindow


class State(Enum):
    """Where a circuit breaker stands."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


_CLOSED = State.CLOSED  # members of an Enum are dear to look up, and this is with every call


class CircuitOpen(Unavailable):
    """{method} of {callee} keeps failing: it is not called for a moment."""


class CircuitBreaker:
    """Guards one method of one callee. A call enters, and leaves with the ticket it got and how it went."""

    def __init__(
        self,
        callee: str,
        method: str,
        *,
        failure_rate: float = 0.5,
        minimum_calls: int = 20,
        window_s: float = 10.0,
        open_s: float = 1.0,
        probes: int = 3,
        forget_s: float = 30.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Open when at least `failure_rate` of at least `minimum_calls` within `window_s` failed, for `open_s`.

        Then so many `probes` are let through; it closes when all of them succeed. It also closes when it stood so for
        `forget_s`: of a callee that hardly anybody called since, it knows nothing any more. Who tries again and again
        is to pause for less.
        """
        self.callee = callee
        self.method = method
        self._failure_rate = failure_rate
        self._minimum_calls = minimum_calls
        self._open_s = open_s
        self._probes = probes
        self._forget_s = forget_s
        self._clock = clock
        self._window = SlidingWindow(window_s, clock)
        self._state = State.CLOSED
        self._since = clock()
        self._turn = 0
        self._entered = 0
        self._succeeded = 0

    @property
    def state(self) -> State:
        """Where it stands now."""
        if self._state is _CLOSED:
            return _CLOSED
        stood_s = self._clock() - self._since
        if self._state is State.OPEN:
            stood_s -= self._open_s
        under_way = self._entered - self._succeeded
        if stood_s >= self._forget_s and not under_way:
            return _CLOSED
        return State.HALF_OPEN if stood_s >= 0 else State.OPEN

    def enter(self) -> int:
        """Begin a call; returns its ticket. CircuitOpen when it may not be made."""
        if self._state is _CLOSED:
            return self._turn
        state = self.state
        if state is not self._state:
            self._become(state)
        if state is State.OPEN or (state is State.HALF_OPEN and self._entered >= self._probes):
            raise CircuitOpen(callee=self.callee, method=self.method)
        self._entered += 1
        return self._turn

    def leave(self, ticket: int, failed: bool | None) -> None:
        """End a call: whether it failed; None when that cannot be told, as it was given up.

        What began before the breaker last turned says nothing about the callee as it is now.
        """
        if ticket != self._turn:
            return
        if self._state is _CLOSED:
            if failed is not None:
                self._window.add(1, failed)
            if failed and self._too_many_failed():
                self._become(State.OPEN)
        elif failed is None:
            self._entered -= 1
        elif failed:
            self._become(State.OPEN)
        else:
            self._succeeded += 1
            if self._succeeded >= self._probes:
                self._become(State.CLOSED)

    def _too_many_failed(self) -> bool:
        count, failed = self._window.totals()
        return count >= self._minimum_calls and failed >= self._failure_rate * count

    def _become(self, state: State) -> None:
        self._state, self._since = state, self._clock()
        self._turn += 1
        self._entered, self._succeeded = 0, 0
        self._window.clear()
