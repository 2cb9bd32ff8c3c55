"""Hedged reads: a call that takes longer than most is made a second time, and the first answer counts.

The first attempt runs in the caller's task, and all attempts that wait for their hedge share one timer: a call that is
answered in time pays for neither a task nor a timer. When the second attempt wins, it interrupts the first as
`asyncio.timeout` does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from time import monotonic
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")
Attempt = Callable[[], Coroutine[Any, Any, Answer]]

QUANTILE = 0.95
SAMPLES = 128
RENEWED_AFTER = 32


class HedgeDelay:
    """After how long a second attempt is worth it: what 95 % of the last answers took, but never below `minimum_s`.

    It is worked out anew every 32 answers. Before the first 32 there is none.
    """

    def __init__(self, minimum_s: float) -> None:
        self.delay_s: float | None = None
        self._minimum_s = minimum_s
        self._durations_s: deque[float] = deque(maxlen=SAMPLES)
        self._until_renewed = RENEWED_AFTER

    def observe(self, duration_s: float) -> None:
        """Learn how long an answer took."""
        self._durations_s.append(duration_s)
        self._until_renewed -= 1
        if not self._until_renewed:
            self._until_renewed = RENEWED_AFTER
            ordered = sorted(self._durations_s)
            self.delay_s = max(ordered[int(QUANTILE * len(ordered))], self._minimum_s)


class Hedging(Generic[Answer]):
    """Makes the calls of one method, which changes nothing, a second time where the first attempt is slow."""

    def __init__(
        self,
        allowed: Callable[[], bool],
        definite: Callable[[BaseException], bool],
        minimum_s: float = 0.05,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Take whether one more attempt is allowed when it is due, and which errors are answers."""
        self.won, self.lost = 0, 0
        """Second attempts, by whether theirs was the answer."""
        self._allowed = allowed
        self._definite = definite
        self._delay = HedgeDelay(minimum_s)
        self._clock = clock
        self._waiting: dict[asyncio.Task[Any], tuple[float, Attempt[Answer]]] = {}
        """First attempts: when their hedge is due, and what makes it."""
        self._hedges: dict[asyncio.Task[Any], _Hedge[Answer]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def answer(self, attempt: Attempt[Answer]) -> Answer:
        """Return the first definite answer to one attempt or two, else the first's error; the loser is cancelled."""
        task, started = _current_task(), self._clock()
        self._expect(task, attempt, started)
        try:
            answer = await attempt()
        except (Exception, asyncio.CancelledError) as error:
            if task not in self._hedges:
                raise
            answer = await self._hedges[task].instead_of(error)
        finally:
            self._waiting.pop(task, None)
            if task in self._hedges:
                self._end(self._hedges.pop(task))
        self._delay.observe(self._clock() - started)
        return answer

    def _expect(self, task: asyncio.Task[Any], attempt: Attempt[Answer], now: float) -> None:
        if self._delay.delay_s is not None:
            self._waiting[task] = now + self._delay.delay_s, attempt
            if self._timer is None:
                self._wake_in(self._delay.delay_s)

    def _wake_in(self, delay_s: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._begin_due)

    def _begin_due(self) -> None:
        self._timer, now = None, self._clock()
        while self._waiting:
            task, (due, attempt) = next(iter(self._waiting.items()))
            if due > now:
                self._wake_in(due - now)
                return
            del self._waiting[task]
            if not task.cancelling() and self._allowed():
                self._hedges[task] = _Hedge(task, attempt(), self._definite)

    def _end(self, hedge: _Hedge[Answer]) -> None:
        hedge.end()
        self.won, self.lost = self.won + hedge.won, self.lost + (not hedge.won)


class _Hedge(Generic[Answer]):
    """The second attempt of a call, whose first is under way in a task."""

    def __init__(
        self,
        first: asyncio.Task[Any],
        attempt: Coroutine[Any, Any, Answer],
        definite: Callable[[BaseException], bool],
    ) -> None:
        self.won = False
        self._first: asyncio.Task[Any] | None = first
        self._definite = definite
        self._second = asyncio.ensure_future(attempt)
        self._second.add_done_callback(self._interrupt_first)

    async def instead_of(self, error: BaseException) -> Answer:
        """Return the answer to the second attempt, as the first ended so; raise that where there is none."""
        first, self._first = self._first, None
        assert first is not None
        if isinstance(error, asyncio.CancelledError):
            if not self.won or first.uncancel():
                raise error
        elif self._definite(error):
            raise error
        else:
            await asyncio.wait((self._second,))
            if not self._is_answered():
                raise error
            self.won = True
        return self._second.result()

    def end(self) -> None:
        """Cancel it, if it is still under way."""
        self._first = None
        self._second.cancel()

    def _interrupt_first(self, _: object) -> None:
        if self._is_answered() and self._first is not None:
            self.won = True
            self._first.cancel()

    def _is_answered(self) -> bool:
        if self._second.cancelled():
            return False
        error = self._second.exception()
        return error is None or self._definite(error)


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
