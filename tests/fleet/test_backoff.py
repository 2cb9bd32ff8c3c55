"""When a process that ended unasked is started again."""

from __future__ import annotations

from fleet.backoff import Backoff


def test_restarts_come_at_once_then_ever_later_up_to_a_limit_until_one_stays() -> None:
    backoff = Backoff()
    assert [backoff.delay_s(lived_s=0.5) for _ in range(9)] == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert [backoff.delay_s(lived_s=10.0), backoff.delay_s(lived_s=0.5)] == [0, 0.1]
