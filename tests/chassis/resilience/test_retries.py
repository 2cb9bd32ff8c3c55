"""Which attempts are made again, and when."""

from __future__ import annotations

from random import Random

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from chassis.resilience.deadline import Deadline
from chassis.resilience.retries import MOST_ATTEMPTS, Retries, backoff_s
from chassis.resilience.retry_budget import RetryBudget
from chassis.status import PUSHBACK
from tests.chassis.resilience.ticks import Ticks


def error(code: StatusCode, pushback: str | None = None) -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata((PUSHBACK, pushback)) if pushback is not None else Metadata())


class Trying:
    """Retries under a clock that moves as they wait."""

    def __init__(self, timeout_s: float = 10.0, share: float = 0.1) -> None:
        self.clock = Ticks()
        self.budget = RetryBudget(share, clock=self.clock)
        self.deadline = Deadline(timeout_s, self.clock)
        self.pauses: list[float] = []
        self._jitter = Random(3)
        self._retries = Retries(self.budget, lambda: self._jitter.uniform(-1, 1), self._sleep)

    async def _sleep(self, pause_s: float) -> None:
        self.pauses.append(pause_s)
        self.clock.advance(pause_s)

    async def again(self, failure: AioRpcError, attempt: int = 1) -> bool:
        return await self._retries.again(failure, attempt, self.deadline)


@pytest.mark.parametrize("code", list(StatusCode))
async def test_only_what_was_unavailable_is_tried_again(code: StatusCode) -> None:
    assert await Trying().again(error(code)) == (code is StatusCode.UNAVAILABLE)


async def test_pauses_grow_and_differ_up_to_the_fourth_attempt() -> None:
    trying = Trying()
    attempts = 1
    while await trying.again(error(StatusCode.UNAVAILABLE), attempts):
        attempts += 1
    assert attempts == MOST_ATTEMPTS == 4
    for pause_s, base_s in zip(trying.pauses, (0.05, 0.1, 0.2), strict=True):
        assert 0.8 * base_s <= pause_s <= 1.2 * base_s
        assert pause_s != base_s
    assert backoff_s(50) == 0.5


@pytest.mark.parametrize("code", [StatusCode.RESOURCE_EXHAUSTED, StatusCode.UNAVAILABLE])
async def test_a_callee_may_say_when_to_come_back(code: StatusCode) -> None:
    trying = Trying()
    assert await trying.again(error(code, "700"))
    assert 0.7 <= trying.pauses[0] <= 0.84
    assert not await trying.again(error(code, "-1"))
    assert not await trying.again(error(code, "later"))


async def test_nobody_waits_for_what_would_come_too_late() -> None:
    trying = Trying(timeout_s=0.5)
    assert not await trying.again(error(StatusCode.RESOURCE_EXHAUSTED, "500"))
    assert await trying.again(error(StatusCode.RESOURCE_EXHAUSTED, "300"))
    assert trying.budget.withdrawn == 1


async def test_the_budget_has_the_last_word() -> None:
    trying = Trying(share=0.0)
    assert not await trying.again(error(StatusCode.UNAVAILABLE))
    assert (trying.budget.withdrawn, trying.budget.withheld) == (0, 1)
