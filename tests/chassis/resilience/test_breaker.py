"""The circuit breaker, from closed to open to half-open and back."""

from __future__ import annotations

import pytest

from chassis.errors import Unavailable
from chassis.resilience.breaker import CircuitBreaker, CircuitOpen
from tests.chassis.resilience.ticks import Ticks


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def breaker(clock: Ticks) -> CircuitBreaker:
    return CircuitBreaker("catalog", "/Get", minimum_calls=10, window_s=10.0, open_s=1.0, probes=3, clock=clock)


def calls(breaker: CircuitBreaker, count: int, failed: bool | None) -> None:
    for _ in range(count):
        breaker.leave(breaker.enter(), failed)


def opened(breaker: CircuitBreaker) -> CircuitBreaker:
    calls(breaker, 10, failed=True)
    assert breaker.state.name == "OPEN"
    return breaker


def test_it_stays_closed_while_less_than_half_fails(breaker: CircuitBreaker) -> None:
    for _ in range(100):
        calls(breaker, 2, failed=False)
        calls(breaker, 1, failed=True)
    assert breaker.state.name == "CLOSED"


def test_it_stays_closed_while_there_are_too_few_calls_to_tell(breaker: CircuitBreaker) -> None:
    calls(breaker, 9, failed=True)
    assert breaker.state.name == "CLOSED"
    calls(breaker, 1, failed=True)
    assert breaker.state.name == "OPEN"


def test_failures_of_long_ago_do_not_count(breaker: CircuitBreaker, clock: Ticks) -> None:
    calls(breaker, 9, failed=True)
    clock.advance(12)
    calls(breaker, 9, failed=True)
    assert breaker.state.name == "CLOSED"


def test_it_opens_at_half_and_says_who_is_not_called(breaker: CircuitBreaker) -> None:
    calls(breaker, 10, failed=False)
    calls(breaker, 10, failed=True)
    assert breaker.state.name == "OPEN"
    with pytest.raises(CircuitOpen) as error:
        breaker.enter()
    assert isinstance(error.value, Unavailable)
    assert error.value.data == {"callee": "catalog", "method": "/Get"}


def test_after_a_while_it_lets_a_few_calls_through_and_closes_when_they_succeed(
    breaker: CircuitBreaker, clock: Ticks
) -> None:
    opened(breaker)
    clock.advance(0.99)
    with pytest.raises(CircuitOpen):
        breaker.enter()
    clock.advance(0.02)
    tickets = [breaker.enter() for _ in range(3)]
    assert breaker.state.name == "HALF_OPEN"
    with pytest.raises(CircuitOpen):
        breaker.enter()
    for ticket in tickets:
        breaker.leave(ticket, failed=False)
    assert breaker.state.name == "CLOSED"
    calls(breaker, 9, failed=True)  # and it has forgotten what was before
    assert breaker.state.name == "CLOSED"


def test_one_probe_that_fails_opens_it_again_for_as_long(breaker: CircuitBreaker, clock: Ticks) -> None:
    opened(breaker)
    clock.advance(1)
    calls(breaker, 2, failed=False)
    calls(breaker, 1, failed=True)
    with pytest.raises(CircuitOpen):
        breaker.enter()
    clock.advance(1)
    calls(breaker, 3, failed=False)
    assert breaker.state.name == "CLOSED"


def test_it_forgets_a_callee_that_nobody_called_for_long(breaker: CircuitBreaker, clock: Ticks) -> None:
    opened(breaker)
    clock.advance(1 + 29)
    assert breaker.state.name == "HALF_OPEN"
    clock.advance(1)
    assert breaker.state.name == "CLOSED"
    calls(breaker, 9, failed=True)
    assert breaker.state.name == "CLOSED"
    calls(breaker, 1, failed=True)
    assert breaker.state.name == "OPEN"


def test_a_callee_that_is_rarely_called_need_not_prove_itself_with_every_probe(
    breaker: CircuitBreaker, clock: Ticks
) -> None:
    opened(breaker)
    clock.advance(10)
    calls(breaker, 1, failed=False)
    clock.advance(20)
    calls(breaker, 1, failed=False)
    assert breaker.state.name == "HALF_OPEN"
    clock.advance(10)
    assert breaker.state.name == "CLOSED"


def test_it_does_not_forget_while_tries_go_on_failing_or_are_under_way(breaker: CircuitBreaker, clock: Ticks) -> None:
    opened(breaker)
    for _ in range(10):
        clock.advance(20)
        calls(breaker, 1, failed=True)
        assert breaker.state.name == "OPEN"
    clock.advance(1)
    hangs = breaker.enter()
    clock.advance(100)
    assert breaker.state.name == "HALF_OPEN"
    breaker.leave(hangs, failed=True)
    assert breaker.state.name == "OPEN"


def test_a_probe_that_was_given_up_makes_room_for_another(breaker: CircuitBreaker, clock: Ticks) -> None:
    opened(breaker)
    clock.advance(1)
    calls(breaker, 20, failed=None)
    calls(breaker, 3, failed=False)
    assert breaker.state.name == "CLOSED"


def test_what_began_before_it_turned_says_nothing(breaker: CircuitBreaker, clock: Ticks) -> None:
    slow = [breaker.enter() for _ in range(20)]
    opened(breaker)
    clock.advance(1)
    probe = breaker.enter()
    for ticket in slow:
        breaker.leave(ticket, failed=True)
    assert breaker.state.name == "HALF_OPEN"
    breaker.leave(probe, failed=False)
    calls(breaker, 2, failed=False)
    for ticket in slow:
        breaker.leave(ticket, failed=True)
    assert breaker.state.name == "CLOSED"


def test_calls_given_up_are_neither_here_nor_there(breaker: CircuitBreaker) -> None:
    calls(breaker, 100, failed=None)
    calls(breaker, 9, failed=True)
    assert breaker.state.name == "CLOSED"
