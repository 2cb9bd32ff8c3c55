"""How a metric went: points where it changed, and what was between them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb

from services.telemetry.history import drawn
from tests.stage import Stage
from tests.telemetry.support import SERVED, Telemetry, counter, gauge, histogram, metrics_of

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=15)


def at(seconds: float, value: float = 1.0) -> tuple[datetime, float, float]:
    return BEGIN + timedelta(seconds=seconds), value, 0.0


def points(*stored: tuple[datetime, float, float]) -> list[tuple[float, float]]:
    return [((point.time.ToDatetime(UTC) - BEGIN).total_seconds(), point.value) for point in drawn(stored, BEGIN, STEP)]


def test_where_nothing_was_stored_it_was_as_before() -> None:
    assert points() == []
    assert points(at(15, 1), at(30, 2)) == [(15, 1), (30, 2)]
    assert points(at(15, 0), at(75, 2)) == [(15, 0), (60, 0), (75, 2)]


def test_what_was_not_heard_of_for_long_is_not_known() -> None:
    assert points(at(15, 1), at(3600, 2)) == [(15, 1), (3600, 2)]
    assert points(at(15, 1), at(390, 2)) == [(15, 1), (375, 1), (390, 2)]


def test_what_was_stored_before_the_beginning_says_how_it_was_then() -> None:
    assert points(at(-60, 1), at(-45, 2), at(15, 3)) == [(0, 2), (15, 3)]
    assert points(at(-60, 1), at(60, 3)) == [(0, 1), (45, 1), (60, 3)]
    assert points(at(-60, 1)) == [(0, 1)]


async def test_a_metric_is_read_as_it_went(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage)

    async def tell(done: int, waiting: int) -> None:
        took = histogram(SERVED, {0.1: 0, 0.2: done}, rpc__method="m")
        await telemetry.metrics(metrics_of("orders/1", gauge("waiting", waiting), counter("done", done), took))

    async def series(metric: str, service: str = "") -> list[pb.Series]:
        return list((await telemetry.queries.ListSeries(pb.ListSeriesRequest(metric=metric, service=service))).series)

    await tell(0, 5)
    for done, waiting, stored in ((30, 5, 3), (30, 5, 5), (30, 6, 6)):  # what did not change is not stored
        telemetry.clock.advance(10)
        await tell(done, waiting)
        telemetry.clock.advance(5)
        await telemetry.stored("points", stored)
    [waited] = await series("waiting", "orders")
    assert (waited.metric, waited.service, waited.instance) == ("waiting", "orders", "orders/1")
    assert [point.value for point in waited.points] == [5, 5, 6]
    [done_s] = await series("done")
    assert [point.value for point in done_s.points] == [pytest.approx(3, rel=0.05), 0]
    [served] = await series(SERVED)
    assert dict(served.attributes) == {"rpc.method": "m"}
    assert served.points[0].value == pytest.approx(3, rel=0.05)
    assert served.points[0].p99_s == pytest.approx(0.199)
    assert await series("waiting", "payments") == []
    for _ in range(32):
        telemetry.clock.advance(10)
        await tell(30, 6)
    telemetry.clock.advance(5)
    await telemetry.stored("points", 9)
    assert len(await series("done")) == 1, "and now and then it is, all the same"
