"""What waits at services shows in the metrics of their process, of all that it hosts together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

import chassis.waiting
from chassis.app import App
from chassis.bus import Event
from chassis.clock import SystemClock
from chassis.telemetry.messaging import Processing
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
    """One that a test says of how much it has before it."""

    group = "tests-of-waiting"
    left = 1

    async def pending(self) -> int:
        return self.left

    async def prune(self) -> None:
        """There is nothing to forget."""


async def test_who_has_caught_up_is_not_late_any_more(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis.waiting, "EVERY_S", 0.02)
    consumer: Any = Consumer()
    made = SystemClock().now() - timedelta(minutes=5)
    Processing(Event("goods/1/1", "goods", "T", "goods/1", made, "", b""), consumer.group).done()

    async def compose(app: App) -> None:
        app.consumer = consumer
        await app.open_database(tmp_path)

    def lag_s() -> float:
        labels = {"messaging_consumer_group_name": consumer.group}
        return REGISTRY.get_sample_value("mercato_consumer_lag_seconds", labels) or 0.0

    async def has_looked() -> bool:
        labels = {"messaging_consumer_group_name": consumer.group}
        return bool(REGISTRY.get_sample_value("mercato_consumer_pending", labels) == consumer.left)

    await stage.start("goods", compose)
    await eventually(has_looked)
    assert lag_s() > 299
    consumer.left = 0
    await eventually(has_looked)

    async def caught_up() -> bool:
        return lag_s() == 0

    await eventually(caught_up)
