"""The retry budget."""

from __future__ import annotations

from random import Random

import pytest

from chassis.resilience.retry_budget import RetryBudget
from tests.chassis.resilience.ticks import Ticks


def withdrawn(budget: RetryBudget, tries: int) -> int:
    return sum(budget.withdraw() for _ in range(tries))


@pytest.mark.parametrize("share", [0.1, 0.25, 3.0])
def test_retries_are_a_share_of_the_calls(share: float) -> None:
    budget = RetryBudget(share, floor_per_s=0.0, clock=Ticks())
    for _ in range(1000):
        budget.count_call()
    assert withdrawn(budget, 5000) == 1000 * share
    assert (budget.withdrawn, budget.withheld) == (1000 * share, 5000 - 1000 * share)


def test_who_calls_seldom_may_retry_a_little() -> None:
    clock = Ticks()
    budget = RetryBudget(0.1, floor_per_s=3.0, window_s=10.0, clock=clock)
    budget.count_call()
    assert withdrawn(budget, 100) == 30
    clock.advance(5)
    assert withdrawn(budget, 100) == 0
    clock.advance(6.1)
    assert withdrawn(budget, 100) == 30


def test_the_floor_does_not_come_on_top() -> None:
    budget = RetryBudget(0.1, floor_per_s=3.0, window_s=10.0, clock=Ticks())
    for _ in range(1000):
        budget.count_call()
    assert withdrawn(budget, 1000) == 100


def test_a_share_of_zero_allows_none() -> None:
    budget = RetryBudget(0.0, clock=Ticks())
    budget.count_call()
    assert not budget.withdraw()


def test_it_holds_over_any_window_however_calls_and_failures_come() -> None:
    clock, random = Ticks(), Random(11)
    budget = RetryBudget(0.1, floor_per_s=0.0, window_s=10.0, clock=clock)
    calls, retries = 0, 0
    for _ in range(20_000):
        clock.advance(random.choice([0.0, 0.0, 0.005]))
        budget.count_call()
        calls += 1
        retries += sum(budget.withdraw() for _ in range(3))
        assert retries <= 0.1 * calls
    assert retries > 0.09 * calls
