"""The deadline budget."""

from __future__ import annotations

from chassis.resilience.deadline import Deadline
from tests.chassis.resilience.ticks import Ticks


def test_attempts_share_what_is_left() -> None:
    clock = Ticks()
    deadline = Deadline(2.0, clock)
    assert deadline.left_s() == 2.0
    clock.advance(1.5)
    assert deadline.left_s() == 0.5
    assert deadline.allows(0.49)
    assert not deadline.allows(0.5)
    clock.advance(1)
    assert deadline.left_s() < 0
    assert not deadline.allows(0)
