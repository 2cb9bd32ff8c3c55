"""The adaptive concurrency limit on a simulated server: time is a number, chance is seeded."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from random import Random

import pytest

from chassis.resilience.concurrency import LEAST, TICK_S, AdaptiveLimit, Overloaded

WORK_S = 0.004
PEAK = 1 / WORK_S
REFUSAL_S = 0.0003
PATIENCE_S = 1.0
"""How long a simulated client waits for its answer."""


class Simulated:
    """A server whose time is a number, with what became of its calls."""

    def __init__(self, most: int = 1000, seed: int = 7) -> None:
        self.now = 0.0
        self.random = Random(seed)
        self.limit = AdaptiveLimit(most, lambda: self.now, self.random.uniform)
        self.pauses_s: list[float] = []
        self._inside_s: list[tuple[float, float]] = []

    def goodput(self, start: float, end: float) -> float:
        """Calls a second that were answered while somebody still waited for them."""
        return sum(start <= when < end and inside_s <= PATIENCE_S for when, inside_s in self._inside_s) / (end - start)

    def longest_s(self, start: float, end: float) -> float:
        return max(inside_s for when, inside_s in self._inside_s if start <= when < end)


class Loop(Simulated):
    """An event loop that works at one call at a time; the others wait in the core, in the order they came."""

    def __init__(self, most: int = 1000) -> None:
        super().__init__(most)
        self._waiting: deque[tuple[float, str, float]] = deque()
        self._told = 0.0

    def run(self, arrivals: Iterator[tuple[float, str, float]]) -> None:
        """Serve calls, each with the time it comes, its method and the work it is, until all are served."""
        following = next(arrivals, None)
        while self._waiting or following:
            if not self._waiting and following:
                self.now = max(self.now, following[0])
            while following and following[0] <= self.now:
                self._waiting.append(following)
                following = next(arrivals, None)
            if self.now - self._told >= TICK_S:
                self._told = self.now
                self.limit.tell_queued(len(self._waiting))
            self._take(*self._waiting.popleft())

    def _take(self, came: float, method: str, work_s: float) -> None:
        try:
            taken = self.limit.acquire()
        except Overloaded as error:
            self.pauses_s.append(error.retry_after_s or 0.0)
            self.now += REFUSAL_S
            return
        self.now += work_s
        self.limit.release(method, taken)
        self._inside_s.append((self.now, self.now - came))


class Pool(Simulated):
    """Handlers that share so many workers of a database: where more are in flight, each takes longer."""

    def __init__(self, workers: int, most: int = 1000) -> None:
        super().__init__(most)
        self.workers = workers
        self._in_flight: list[tuple[float, str, float]] = []
        self._free_at = 0.0

    def run(self, arrivals: Iterator[tuple[float, str, float]]) -> None:
        for came, method, work_s in arrivals:
            self._end_until(came)
            self.now = came
            try:
                taken = self.limit.acquire()
            except Overloaded:
                continue
            self._free_at = max(self._free_at, came) + work_s / self.workers
            heapq.heappush(self._in_flight, (max(self._free_at, came + work_s), method, taken))
        self._end_until(float("inf"))

    def _end_until(self, when: float) -> None:
        while self._in_flight and self._in_flight[0][0] <= when:
            self.now, method, taken = heapq.heappop(self._in_flight)
            self.limit.release(method, taken)
            self._inside_s.append((self.now, self.now - taken))


def poisson(
    random: Random, *steps: tuple[float, float], method: str = "m", work_s: float = WORK_S
) -> Iterator[tuple[float, str, float]]:
    """Yield calls at a rate a second for so many seconds, one step after the other."""
    now = end = 0.0
    for rate, duration_s in steps:
        end += duration_s
        while (now := now + random.expovariate(rate)) < end:
            yield now, method, work_s
        now = end


def test_twice_the_peak_keeps_goodput_and_bounds_the_time_inside() -> None:
    loop = Loop()
    loop.run(poisson(loop.random, (0.6 * PEAK, 5), (2 * PEAK, 10), (0.6 * PEAK, 5)))
    assert loop.goodput(5, 15) > 0.8 * PEAK
    assert loop.longest_s(6.5, 15) < 0.5
    assert loop.goodput(16, 20) > 0.55 * PEAK
    assert loop.limit.shed > 1000


def test_without_the_limit_the_same_load_leaves_nothing_good() -> None:
    loop = Loop(most=10**9)
    loop.limit.tell_queued = lambda count: None  # type: ignore[method-assign]
    loop.run(poisson(loop.random, (0.6 * PEAK, 5), (2 * PEAK, 10)))
    assert loop.goodput(8, 15) < 0.1 * PEAK


def test_load_below_the_peak_is_never_refused() -> None:
    loop = Loop()
    loop.run(poisson(loop.random, (0.85 * PEAK, 60)))
    assert loop.limit.shed == 0


def test_it_recovers_at_once_when_the_load_falls_and_in_seconds_to_the_whole_limit() -> None:
    loop = Loop()
    loop.run(poisson(loop.random, (2 * PEAK, 5), (0.6 * PEAK, 8)))
    assert loop.goodput(5.5, 13) > 0.55 * PEAK
    assert loop.limit.limit == 1000


def test_bursts_that_drain_are_served_whole() -> None:
    loop = Loop()
    small = ((second + n / 10_000, "m", WORK_S) for second in range(1, 20) for n in range(80))
    large = ((20 + n / 5_000, "m", WORK_S) for n in range(500))  # in two seconds
    loop.run(heapq.merge(small, large, poisson(loop.random, (0.2 * PEAK, 30))))
    assert loop.limit.shed == 0
    assert loop.longest_s(20, 30) > 1.5


def test_a_method_slow_by_nature_is_no_overload_beside_a_quick_one() -> None:
    pool = Pool(workers=10_000)
    quick = poisson(pool.random, (200, 20), method="quick", work_s=0.002)
    slow = poisson(pool.random, (20, 20), method="slow", work_s=2.0)
    pool.run(heapq.merge(quick, slow))
    assert pool.limit.shed == 0
    assert pool.limit.limit == 1000


def test_what_it_calls_becomes_slower_and_is_soon_usual() -> None:
    pool = Pool(workers=10_000)
    doubled = ((5 + when, method, work_s) for when, method, work_s in poisson(pool.random, (50, 20), work_s=0.4))
    pool.run(heapq.merge(poisson(pool.random, (50, 5), work_s=0.2), doubled))
    assert pool.limit.shed == 0


def test_handlers_that_wait_for_each_other_are_kept_few() -> None:
    pool = Pool(workers=10)
    pool.run(poisson(pool.random, (500, 2), (2000, 10), work_s=0.01))
    assert pool.goodput(4, 12) > 800  # of 1000
    assert pool.longest_s(4, 12) < 0.4


def test_so_few_calls_are_never_refused_however_long_they_take() -> None:
    pool = Pool(workers=1)
    batch_s = [0.1] * 20 + [1.0] * 20
    pool.run((n * 3.0, "m", each_s / LEAST) for n, each_s in enumerate(batch_s) for _ in range(LEAST))
    assert pool.limit.shed == 0


def test_small_bursts_far_apart_are_no_queue() -> None:
    loop = Loop()
    bursts = ((minute * 60.0, "m", WORK_S) for minute in range(30) for _ in range(30))
    loop.run(bursts)
    assert (loop.limit.shed, loop.limit.limit) == (0, 1000)


def test_it_never_passes_the_most_allowed() -> None:
    pool = Pool(workers=10_000, most=8)
    pool.run(iter([(0.0, "m", 1.0)] * 20))
    assert (pool.limit.served, pool.limit.shed) == (8, 12)


def test_who_is_refused_is_told_to_come_when_those_before_are_done() -> None:
    loop = Loop()
    loop.run(poisson(loop.random, (0.6 * PEAK, 5), (2 * PEAK, 10)))
    later = loop.pauses_s[-1000:]
    assert min(later) > 0.4  # about as many are refused in a second as are served
    assert max(later) < 2.5
    assert len(set(later)) > 990  # they do not come back together


def test_what_it_counts_is_what_happened() -> None:
    now = 0.0
    limit = AdaptiveLimit(2, lambda: now)
    first = limit.acquire()
    now = 1.0
    second = limit.acquire()
    with pytest.raises(Overloaded):
        limit.acquire()
    now = 3.0
    limit.release("m", first, failed=True)
    now = 4.0
    assert (limit.in_flight, limit.served, limit.failed, limit.shed, limit.taken) == (1, 1, 1, 1, 3)
    assert limit.busy_s == 1 + 2 * 2 + 1
    limit.release("m", second, failed=None)
    assert (limit.in_flight, limit.served, limit.failed) == (0, 2, 1)
