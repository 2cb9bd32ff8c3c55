"""Which traces are recorded."""

from __future__ import annotations

import random

import pytest

from chassis.telemetry.sampling import Sampler
from tests.chassis.resilience.ticks import Ticks


@pytest.fixture(autouse=True)
def seeded() -> None:
    random.seed(7)


def test_a_share_of_traces_is_recorded() -> None:
    sampler = Sampler(0.1)
    assert sum(sampler.decide() for _ in range(10_000)) == pytest.approx(1000, abs=100)


def test_none_and_all() -> None:
    assert not any(Sampler(0.0).decide() for _ in range(100))
    assert all(Sampler(1.0).decide() for _ in range(100))


def test_no_more_a_second_than_allowed_and_all_where_there_are_few() -> None:
    ticks = Ticks()
    sampler = Sampler(1.0, 5, clock=ticks)
    assert sum(sampler.decide() for _ in range(1000)) == 5
    ticks.now += 1
    assert sum(sampler.decide() for _ in range(1000)) == 5
    for _ in range(20):
        ticks.now += 0.5
        assert sampler.decide()


def test_less_than_one_a_second() -> None:
    ticks = Ticks()
    sampler = Sampler(1.0, 0.5, clock=ticks)
    found = []
    for _ in range(10):
        ticks.now += 1
        found.append(sampler.decide())
    assert sum(found) == 5


def test_a_trace_says_whether_it_is_recorded() -> None:
    assert Sampler(1.0).start().sampled
    assert not Sampler(0.0).start().sampled
