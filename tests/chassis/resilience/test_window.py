"""Counts that slide with the time."""

from __future__ import annotations

from random import Random

from chassis.resilience.window import SLICES, SlidingWindow
from tests.chassis.resilience.ticks import Ticks


def test_what_happened_is_counted_and_forgotten_after_its_time() -> None:
    clock = Ticks()
    window = SlidingWindow(10.0, clock)
    window.add(3, marked=1)
    clock.advance(5)
    window.add(2)
    assert window.totals() == (5, 1)
    clock.advance(6)
    assert window.totals() == (2, 0)
    clock.advance(100)
    assert window.totals() == (0, 0)


def test_it_can_be_cleared() -> None:
    window = SlidingWindow(10.0, Ticks())
    window.add(3, marked=3)
    window.clear()
    assert window.totals() == (0, 0)


def test_it_is_right_to_a_tenth_of_its_length() -> None:
    clock, random = Ticks(), Random(7)
    window = SlidingWindow(10.0, clock)
    times: list[float] = []
    for _ in range(5000):
        clock.advance(random.choice([0.0, 0.01, 0.3, 2.0]))
        window.add()
        times.append(clock.now)
        count, _ = window.totals()
        surely = sum(time > clock.now - 10.0 for time in times)
        perhaps = sum(time > clock.now - 10.0 - 2 * 10.0 / SLICES for time in times)
        assert surely <= count <= perhaps
