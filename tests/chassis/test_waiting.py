"""What waits at services shows in the metrics of their process, of all that it hosts together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import chassis.waiting
from chassis.app import App
from chassis.bus import Event, Progress
from chassis.clock import SystemClock
from chassis.errors import Unavailable
from chassis.tasks import cancel
from chassis.telemetry.messaging import Processing
from chassis.waiting import Waiting
from tests.stage import Stage, eventually

_EVENT = (
    "INSERT INTO events (subject, version, type, payload, create_time, trace) VALUES ('goods/1', $1, 'T', '', $2, '')"
)
_LETTER = "INSERT INTO dead_letters VALUES ($1, 'goods', 'T', 'goods/1', '', '', $2, 'bad', 3, $2)"


async def test_what_waits_at_all_services_of_a_process_counts(stage: Stage, tmp_path: Path) -> None:
    now = SystemClock().now()

    async def host(name: str, waiting: int, age: timedelta) -> None:
        async def compose(app: App) -> None:
            database = await app.open_database(tmp_path)  # and no bus, so that what is to be published waits
            for number in range(waiting):
                await database.value(_EVENT, number, now - age)
                await database.value(_LETTER, f"goods/1/{number}", now)

        await stage.start(name, compose)

    await host("busy", 3, timedelta(hours=2))
    await host("calm", 1, timedelta(hours=1))
    await host("idle", 0, timedelta())

    async def shows() -> bool:
        names = ("mercato_outbox_unpublished", "mercato_dead_letters", "mercato_outbox_lag_seconds")
        unpublished, letters, lag_s = (REGISTRY.get_sample_value(name) or 0.0 for name in names)
        return (unpublished, letters) == (4, 4) and 7200 <= lag_s < 7300

    await eventually(shows)


class Consumer:
    """One that a test says of how far it is."""

    group = "tests-of-waiting"
    left, handled = 1, 0

    async def progress(self) -> Progress:
        return Progress(self.left, self.handled)


class Away:
    """A database that is away, and with it the sagas."""

    async def row(self, query: str) -> None:
        raise Unavailable

    async def count(self) -> None:
        raise Unavailable


def pending() -> float:
    return _sample("mercato_consumer_pending")


def lag_s() -> float:
    return _sample("mercato_consumer_lag_seconds")


def _sample(name: str) -> float:
    return REGISTRY.get_sample_value(name, {"messaging_consumer_group_name": Consumer.group}) or 0.0


@pytest.fixture
async def consumer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Consumer]:
    """One that handled an event of five minutes ago, at a service whose database and sagas are away."""
    monkeypatch.setattr(chassis.waiting, "EVERY_S", 0.02)
    consumer: Any = Consumer()
    made = SystemClock().now() - timedelta(minutes=5)
    Processing(Event("goods/1/1", "goods", "T", "goods/1", made, "", b""), consumer.group).done()
    away: Any = Away()
    looking = asyncio.create_task(Waiting(away, SystemClock(), consumer, away).run())
    await eventually(lambda: asyncio.sleep(0, pending() == consumer.left))
    yield consumer
    await cancel([looking])


async def test_who_has_caught_up_is_not_late_any_more(consumer: Consumer) -> None:
    assert lag_s() > 299
    consumer.left = 0
    await eventually(lambda: asyncio.sleep(0, lag_s() == 0))


async def test_who_handles_nothing_though_events_wait_gets_later_until_it_gets_on(consumer: Consumer) -> None:
    consumer.left, late_s = 7, lag_s()
    await eventually(lambda: asyncio.sleep(0, lag_s() > late_s + 0.05))
    assert pending() == 7
    consumer.handled += 1  # be it by another instance, which alone knows how late
    await eventually(lambda: asyncio.sleep(0, lag_s() < 1))
    while pending():
        consumer.handled, consumer.left = consumer.handled + 1, consumer.left - 1
        await eventually(lambda: asyncio.sleep(0, pending() == consumer.left))
        assert lag_s() < 1
