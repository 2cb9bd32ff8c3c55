"""Hedged reads: whose answer counts, and what becomes of the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from chassis.errors import MercatoError, NotFound, Unavailable
from chassis.resilience.hedging import RENEWED_AFTER, HedgeDelay, Hedging

DELAY_S = 0.02


class Attempts:
    """Attempts that end as a test says, each on its turn."""

    def __init__(self) -> None:
        self.ends: list[asyncio.Future[str]] = []
        self.cancelled: list[int] = []
        self.allowed = True

    async def __call__(self) -> str:
        number = len(self.ends)
        self.ends.append(asyncio.get_running_loop().create_future())
        try:
            return await self.ends[number]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise

    async def begun(self, count: int) -> None:
        async with asyncio.timeout(2):
            while len(self.ends) < count:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


@pytest.fixture
def attempts() -> Attempts:
    return Attempts()


@pytest.fixture
async def hedging(attempts: Attempts) -> Hedging[str]:
    """Hedging that has learned how long answers take: no time at all."""
    hedging = Hedging[str](lambda: attempts.allowed, definite, minimum_s=DELAY_S)

    async def at_once() -> str:
        return "learned"

    for _ in range(RENEWED_AFTER):
        await hedging.answer(at_once)
    return hedging


def definite(error: BaseException) -> bool:
    return isinstance(error, MercatoError) and error.definite


async def test_the_second_answers_first_and_the_first_is_cancelled(attempts: Attempts, hedging: Hedging[str]) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    attempts.ends[1].set_result("second")
    assert await answer == "second"
    assert attempts.cancelled == [0]
    assert (hedging.won, hedging.lost) == (1, 0)
    assert not answer.cancelling()


async def test_the_first_answers_first_and_the_second_is_cancelled(attempts: Attempts, hedging: Hedging[str]) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    attempts.ends[0].set_result("first")
    assert await answer == "first"
    await asyncio.sleep(0)
    assert attempts.cancelled == [1]
    assert (hedging.won, hedging.lost) == (0, 1)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_both_at_once_are_one_answer_and_cancel_nobody_later(
    attempts: Attempts, hedging: Hedging[str], order: tuple[int, int]
) -> None:
    async def ask() -> str:
        answer = await hedging.answer(attempts)
        await asyncio.sleep(0.01)  # where a late cancellation would strike
        return answer

    answer = asyncio.create_task(ask())
    await attempts.begun(2)
    for number in order:
        attempts.ends[number].set_result(str(number))
    assert await answer in ("0", "1")
    assert not answer.cancelling()
    assert hedging.won + hedging.lost == 1


async def test_who_answers_in_time_is_not_asked_twice(attempts: Attempts, hedging: Hedging[str]) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(1)
    attempts.ends[0].set_result("first")
    assert await answer == "first"
    await asyncio.sleep(2 * DELAY_S)
    assert len(attempts.ends) == 1
    assert (hedging.won, hedging.lost) == (0, 0)


async def test_without_leave_there_is_one_attempt(attempts: Attempts, hedging: Hedging[str]) -> None:
    attempts.allowed = False
    answer = asyncio.create_task(hedging.answer(attempts))
    await asyncio.sleep(2 * DELAY_S)
    attempts.ends[0].set_result("first")
    assert await answer == "first"
    assert len(attempts.ends) == 1


async def test_before_it_knows_how_long_answers_take_there_is_one_attempt(attempts: Attempts) -> None:
    hedging = Hedging[str](lambda: True, definite, minimum_s=0.0)
    answer = asyncio.create_task(hedging.answer(attempts))
    await asyncio.sleep(DELAY_S)
    attempts.ends[0].set_result("first")
    assert await answer == "first"
    assert len(attempts.ends) == 1


@pytest.mark.parametrize("number", [0, 1])
async def test_a_definite_error_is_an_answer(attempts: Attempts, hedging: Hedging[str], number: int) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    attempts.ends[number].set_exception(NotFound(name="products/1"))
    with pytest.raises(NotFound):
        await answer
    await asyncio.sleep(0)
    assert attempts.cancelled == [1 - number]


@pytest.mark.parametrize("number", [0, 1])
async def test_an_attempt_that_tells_nothing_leaves_it_to_the_other(
    attempts: Attempts, hedging: Hedging[str], number: int
) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    attempts.ends[number].set_exception(Unavailable())
    await asyncio.sleep(0.005)
    attempts.ends[1 - number].set_result("other")
    assert await answer == "other"
    assert (hedging.won, hedging.lost) == (1 - number, number)


async def test_when_neither_answers_the_error_of_the_first_is_told(attempts: Attempts, hedging: Hedging[str]) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    attempts.ends[0].set_exception(Unavailable("first"))
    attempts.ends[1].set_exception(Unavailable("second"))
    with pytest.raises(Unavailable, match="first"):
        await answer


def end_both(attempts: Attempts) -> None:
    attempts.ends[1].set_result("second")


def end_none(attempts: Attempts) -> None:
    pass


@pytest.mark.parametrize("at_the_same_time", [end_none, end_both])
async def test_a_caller_that_goes_away_cancels_both(
    attempts: Attempts, hedging: Hedging[str], at_the_same_time: Callable[[Attempts], None]
) -> None:
    answer = asyncio.create_task(hedging.answer(attempts))
    await attempts.begun(2)
    at_the_same_time(attempts)
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer
    await asyncio.sleep(0)
    assert 0 in attempts.cancelled
    assert attempts.ends[1].done()


async def test_many_wait_for_one_timer_and_each_is_hedged_in_its_turn(
    attempts: Attempts, hedging: Hedging[str]
) -> None:
    answers = [asyncio.create_task(hedging.answer(attempts)) for _ in range(5)]
    await attempts.begun(10)
    for end in attempts.ends[5:]:
        end.set_result("second")
    assert await asyncio.gather(*answers) == ["second"] * 5
    assert attempts.cancelled == [0, 1, 2, 3, 4]


def test_the_delay_is_what_most_answers_take() -> None:
    delay = HedgeDelay(minimum_s=0.05)
    for number in range(RENEWED_AFTER - 1):
        delay.observe(0.1 if number % 2 else 0.2)
    assert delay.delay_s is None
    delay.observe(0.1)
    assert delay.delay_s == 0.2
    for number in range(4 * RENEWED_AFTER):
        delay.observe(1.0 if number % 25 == 0 else 0.1)
    assert delay.delay_s == 0.1
    for _ in range(4 * RENEWED_AFTER):
        delay.observe(0.001)
    assert delay.delay_s == 0.05
