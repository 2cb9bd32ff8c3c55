"""Retries: which attempts are made again, and after which pause."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from grpc import StatusCode
from grpc.aio import AioRpcError

from chassis.resilience.deadline import Deadline
from chassis.resilience.retry_budget import RetryBudget
from chassis.status import PUSHBACK

MOST_ATTEMPTS = 4
FIRST_BACKOFF_S, BACKOFF_FACTOR, LONGEST_BACKOFF_S = 0.05, 2, 0.5
JITTER = 0.2


def backoff_s(attempt: int, jitter: float = 0.0) -> float:
    """Return the pause after so many attempts: it doubles each time; `jitter`, -1 to 1, moves it by up to a fifth."""
    pause_s: float = min(FIRST_BACKOFF_S * BACKOFF_FACTOR ** (attempt - 1), LONGEST_BACKOFF_S)
    return pause_s * (1 + JITTER * jitter)


def pushback_s(error: AioRpcError) -> float | None:
    """Return after which pause the callee wants to be tried again; negative: never; None: it does not say."""
    for key, value in error.trailing_metadata() or ():
        if key == PUSHBACK:
            try:
                return int(value) / 1000
            except ValueError:  # what cannot be read means never (gRFC A6)
                return -1.0
    return None


class Retries:
    """Tries calls to one callee again, as long as its budget and the deadline of the call allow."""

    def __init__(
        self,
        budget: RetryBudget,
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._budget = budget
        self._jitter = jitter
        self._sleep = sleep

    async def again(self, error: AioRpcError, attempt: int, deadline: Deadline) -> bool:
        """Whether to try again after so many attempts, the last of which ended so; returns when it is time to.

        A call is tried again that was UNAVAILABLE, or that the callee refused and said when to come back.
        """
        pause_s = self._pause_s(error, attempt)
        if pause_s is None or attempt >= MOST_ATTEMPTS or not deadline.allows(pause_s) or not self._budget.withdraw():
            return False
        await self._sleep(pause_s)
        return True

    def _pause_s(self, error: AioRpcError, attempt: int) -> float | None:
        if error.code() not in (StatusCode.UNAVAILABLE, StatusCode.RESOURCE_EXHAUSTED):
            return None
        pause_s = pushback_s(error)
        if pause_s is None:
            return backoff_s(attempt, self._jitter()) if error.code() is StatusCode.UNAVAILABLE else None
        return pause_s * (1 + JITTER * abs(self._jitter())) if pause_s >= 0 else None
