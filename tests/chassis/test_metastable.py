"""Metastable failure on a simulated server, whose clients try again: time is a number, chance is seeded.

`mercato bench-mesh` shows the same with a real server, at the speed and with the noise of the machine it runs on.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from itertools import count
from random import Random
from typing import NamedTuple

from chassis.resilience.concurrency import TICK_S, AdaptiveLimit, Overloaded
from chassis.resilience.retry_budget import RetryBudget

WORK_S, REFUSAL_S = 0.005, 0.0005
PEAK = 1 / WORK_S
TIMEOUT_S, ATTEMPTS = 0.5, 5
BEFORE_S, OVERLOAD_S, AFTER_S = 3, 5, 60
END_S = BEFORE_S + OVERLOAD_S + AFTER_S


class Attempt(NamedTuple):
    """One of the attempts of a call: when it comes, and the time from which nobody waits for it."""

    came: float
    order: int
    number: int

    @property
    def expired(self) -> float:
        return self.came + TIMEOUT_S


class Trial:
    """One event loop, and clients. It works on what nobody waits for any more, as nobody tells it."""

    def __init__(self, protected: bool) -> None:
        self.now = 0.0
        self.good = Counter[int]()
        """Calls that were answered in time, by second."""
        self.limit = AdaptiveLimit(1000, lambda: self.now, Random(5).uniform)
        self._budget = RetryBudget(clock=lambda: self.now)
        self._protected = protected
        self._orders = count()
        self._coming: list[Attempt] = []
        self._waiting: deque[Attempt] = deque()
        chance, now = Random(2021), 0.0
        while now < END_S:
            overload = BEFORE_S <= now < BEFORE_S + OVERLOAD_S
            now += chance.expovariate((2.0 if overload else 0.6) * PEAK)
            self._come(now, 1)

    def run(self) -> None:
        told = 0.0
        while self.now < END_S and (self._coming or self._waiting):
            if not self._waiting:
                self.now = max(self.now, self._coming[0].came)
            while self._coming and self._coming[0].came <= self.now:
                self._take(heapq.heappop(self._coming))
            if self._protected and self.now - told >= TICK_S:
                told = self.now
                self.limit.tell_queued(len(self._waiting))
            if self._waiting:
                self._serve(self._waiting.popleft())

    def mean(self, start: int, end: int) -> float:
        return sum(self.good[second] for second in range(start, end)) / (end - start)

    def _take(self, attempt: Attempt) -> None:
        if attempt.number == 1:
            self._budget.count_call()
        self._waiting.append(attempt)

    def _serve(self, attempt: Attempt) -> None:
        try:
            taken = self.limit.acquire()
        except Overloaded as error:
            self.now += REFUSAL_S
            self._again(attempt, self.now + (error.retry_after_s or 0.0))
            return
        self.now += WORK_S
        self.limit.release("m", taken)
        if self.now <= attempt.expired:
            self.good[int(self.now)] += 1
        else:
            self._again(attempt, attempt.expired)

    def _again(self, attempt: Attempt, when: float) -> None:
        """Try again; who has no budget does so whatever it costs others."""
        if attempt.number < ATTEMPTS and (not self._protected or self._budget.withdraw()):
            self._come(when, attempt.number + 1)

    def _come(self, when: float, number: int) -> None:
        heapq.heappush(self._coming, Attempt(when, next(self._orders), number))


def test_naive_retries_keep_a_server_down_long_after_the_load_is_gone() -> None:
    trial = Trial(protected=False)
    trial.run()
    assert trial.mean(1, BEFORE_S) > 0.5 * PEAK
    assert trial.mean(BEFORE_S + 2, BEFORE_S + OVERLOAD_S) < 0.1 * PEAK
    assert trial.mean(END_S - 30, END_S) < 0.1 * PEAK


def test_limit_and_retry_budget_keep_it_up_and_it_recovers_at_once() -> None:
    trial = Trial(protected=True)
    trial.run()
    assert trial.mean(BEFORE_S + 1, BEFORE_S + OVERLOAD_S) > 0.8 * PEAK
    assert trial.mean(BEFORE_S + OVERLOAD_S + 1, BEFORE_S + OVERLOAD_S + 6) > 0.55 * PEAK
