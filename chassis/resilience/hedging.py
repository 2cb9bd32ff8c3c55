"""Hedged reads: a call that takes longer than most is made a second time, and the first answer counts."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

Answer = TypeVar("Answer")

QUANTILE = 0.95
SAMPLES = 128
RENEWED_AFTER = 32


class HedgeDelay:
    """After how long a second attempt is worth it: what 95 % of the last answers took, but never below `minimum_s`.

    It is worked out anew every 32 answers. Before the first 32 there is none.
    """

    def __init__(self, minimum_s: float = 0.05) -> None:
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


class Hedge(Generic[Answer]):
    """One call that may be made twice. The attempt that loses is cancelled.

    The first attempt runs in the caller's task, so a call that is answered in time costs a timer and no task. When the
    second wins, it interrupts the first as `asyncio.timeout` does.
    """

    def __init__(
        self,
        attempt: Callable[[], Coroutine[Any, Any, Answer]],
        allowed: Callable[[], bool],
        definite: Callable[[BaseException], bool],
    ) -> None:
        """Take what makes an attempt, whether a second is allowed when it is due, and which errors are answers."""
        self._attempt = attempt
        self._allowed = allowed
        self._definite = definite
        self._second: asyncio.Task[Answer] | None = None
        self._waiting: asyncio.Task[Any] | None = None
        self.won: bool | None = None
        """Whether the second attempt gave the answer; None when there was none."""

    async def answer(self, delay_s: float) -> Answer:
        """Return the first answer; the error of the first attempt when there is none."""
        task = self._waiting = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        timer = asyncio.get_running_loop().call_later(delay_s, self._begin_second)
        try:
            return await self._attempt()
        except asyncio.CancelledError:
            if not self.won or task.uncancel() > cancelling:
                raise
            assert self._second is not None
            return self._second.result()
        except Exception as error:
            self._waiting = None
            if self._second is None or self._definite(error):
                raise
            return await self._other(error)
        finally:
            self._waiting = None
            timer.cancel()
            if self._second is not None:
                self._second.cancel()

    def _begin_second(self) -> None:
        if self._allowed():
            self.won = False
            self._second = asyncio.ensure_future(self._attempt())
            self._second.add_done_callback(self._end_first)

    def _end_first(self, second: asyncio.Task[Answer]) -> None:
        if second.cancelled():
            return
        error = second.exception()
        if self._waiting is not None and (error is None or self._definite(error)):
            self.won = True
            self._waiting.cancel()

    async def _other(self, error: Exception) -> Answer:
        assert self._second is not None
        try:
            answer = await self._second
        except Exception as other:
            if not self._definite(other):
                raise error from None
            self.won = True
            raise
        self.won = True
        return answer
