"""The longest that something may take, kept for many tasks at once."""

from __future__ import annotations

import asyncio

import pytest

from chassis.deadlines import Longest

SHORT_S, LONG_S = 0.05, 30.0


async def rest(longest: Longest, rest_s: float) -> str:
    with longest:
        await asyncio.sleep(rest_s)
    return "rested"


async def test_what_is_done_in_time_is_left_alone_and_what_is_not_is_ended() -> None:
    longest = Longest(SHORT_S)
    ends = await asyncio.gather(
        *(rest(longest, LONG_S if number % 2 else 0) for number in range(10)), return_exceptions=True
    )
    assert ends[::2] == ["rested"] * 5
    assert all(isinstance(end, TimeoutError) for end in ends[1::2])


async def test_each_task_has_its_own_time() -> None:
    longest, loop = Longest(0.2), asyncio.get_running_loop()

    async def took_s(later_s: float) -> float:
        await asyncio.sleep(later_s)
        started = loop.time()
        with pytest.raises(TimeoutError):
            await rest(longest, LONG_S)
        return loop.time() - started

    async with asyncio.timeout(5):
        assert all(0.19 < taken < 1 for taken in await asyncio.gather(*map(took_s, (0, 0.05, 0.1, 0.15))))


async def test_a_task_that_was_ended_goes_on_and_can_wait_again() -> None:
    longest = Longest(SHORT_S)
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await rest(longest, LONG_S)
    assert await rest(longest, 0) == "rested"
    await asyncio.sleep(2 * SHORT_S)  # past the end of the time, which is nobody's any more
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()


async def test_a_cancellation_stays_one() -> None:
    longest = Longest(SHORT_S)
    task = asyncio.create_task(rest(longest, LONG_S))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_meets_the_end_of_the_time_stays_one() -> None:
    longest = Longest(SHORT_S)

    async def ended_and_cancelled() -> None:
        with longest:
            try:
                await asyncio.sleep(LONG_S)
            finally:
                task.cancel()  # as a caller that goes away just now

    task = asyncio.create_task(ended_and_cancelled())
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_passes_through() -> None:
    with pytest.raises(KeyError), Longest(SHORT_S):
        raise KeyError
