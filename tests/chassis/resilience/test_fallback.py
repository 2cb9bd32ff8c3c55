"""Answers in the place of a callee."""

from __future__ import annotations

import logging

import pytest
from prometheus_client import REGISTRY

from chassis.errors import DeadlineExceeded, Internal, MercatoError, NotFound, ResourceExhausted, Unavailable
from chassis.resilience.breaker import CircuitOpen
from chassis.resilience.fallback import Fallback, LastGood
from tests.chassis.resilience.ticks import Ticks


async def failing(error: MercatoError) -> str:
    raise error


async def answering() -> str:
    return "answer"


def used(name: str) -> float:
    return REGISTRY.get_sample_value("mercato_client_fallbacks_total", {"mercato_fallback": name}) or 0.0


@pytest.mark.parametrize("error", [Unavailable(), DeadlineExceeded(), CircuitOpen(callee="a", method="b")])
async def test_who_cannot_be_reached_is_stood_in_for(error: MercatoError) -> None:
    before = used("prices")
    assert await Fallback("prices").around(failing(error), lambda: "instead") == "instead"
    assert used("prices") == before + 1


@pytest.mark.parametrize("error", [NotFound(name="a"), ResourceExhausted(), Internal()])
async def test_what_is_answered_is_the_answer(error: MercatoError) -> None:
    with pytest.raises(type(error)):
        await Fallback("prices").around(failing(error), lambda: "instead")
    assert await Fallback("prices").around(answering(), lambda: "instead") == "answer"


async def test_where_nothing_can_be_said_instead_the_failure_is_told() -> None:
    before = used("prices")
    with pytest.raises(Unavailable):
        await Fallback("prices").around(failing(Unavailable()), lambda: None)
    assert used("prices") == before


async def test_an_outage_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    fallback = Fallback("prices")
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            for _ in range(5):
                await fallback.around(failing(Unavailable()), lambda: "instead")
            for _ in range(5):
                await fallback.around(answering(), lambda: "instead")
    assert [record.message for record in caplog.records] == ["fallback begins", "fallback ends"] * 2


def test_the_last_good_answers_are_few_and_young() -> None:
    clock = Ticks()
    copies = LastGood[str, int](most=2, oldest_s=60.0, clock=clock)
    copies.put({"a": 1, "b": 2})
    clock.advance(50)
    assert copies.get(["a", "b"]) == {"a": 1, "b": 2}
    copies.put({"a": 3})
    copies.put({"c": 4})
    assert copies.get(["a", "c"]) == {"a": 3, "c": 4}
    assert copies.get(["b"]) is None
    assert copies.get(["a", "b"]) is None
    clock.advance(61)
    assert copies.get(["a"]) is None
