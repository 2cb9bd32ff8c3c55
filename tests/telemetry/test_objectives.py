"""Objectives are met as far as calls were good: counted where they are served, whoever made them."""

from __future__ import annotations

import time
from datetime import timedelta
from math import inf

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from chassis.policy import Objective
from services.telemetry.contract import objectives_by_method
from services.telemetry.objectives import Counts, slower, statuses
from tests.stage import Stage, eventually
from tests.telemetry.support import CALLS, MS, Telemetry, histogram, metrics_of

GET = "mercato.shipping.v1.ShippingService/GetShipment"
WATCH = "mercato.orders.v1.OrderService/WatchOrder"
BOUNDS = (0.1, 0.25, 0.5, 1.0)


async def found(telemetry: Telemetry, service: str, calls: int) -> list[pb.ObjectiveStatus]:
    """Return the objectives of a service once so many calls of a method are counted."""
    answer = pb.ListObjectivesResponse()

    async def counted() -> bool:
        nonlocal answer
        answer = await telemetry.queries.ListObjectives(pb.ListObjectivesRequest(service=service))
        return any(status.calls == calls for status in answer.objectives)

    await eventually(counted)
    return list(answer.objectives)


async def test_calls_count_where_they_are_served_with_what_went_wrong(stage: Stage) -> None:
    telemetry = await Telemetry.open(stage)
    nothing = dict.fromkeys(BOUNDS, 0)

    async def serve(ok: int, unavailable: int, slow: int) -> None:
        await telemetry.metrics(
            metrics_of(
                "shipping/1",
                histogram(CALLS, nothing | {0.1: ok}, slow, rpc__method=GET, rpc__response__status_code="OK"),
                histogram(CALLS, nothing | {0.1: unavailable}, rpc__method=GET,
                          rpc__response__status_code="UNAVAILABLE"),
                histogram(CALLS, nothing, ok, rpc__method=GET, rpc__response__status_code="UNAVAILABLE",
                          mercato__caller="console"),
                histogram(CALLS, {1.0: ok}, rpc__method=WATCH, rpc__response__status_code="OK"),
                histogram(CALLS, {1.0: ok}, rpc__method="grpc.health.v1.Health/Check"),
            )
        )  # fmt: skip

    await serve(500, 0, 0)  # before we looked
    telemetry.clock.advance(2)
    await serve(1400, 2, 98)
    telemetry.clock.advance(5)
    worst, other = await found(telemetry, "shipping", 1000)
    assert (worst.kind, worst.method, worst.service) == (pb.ObjectiveStatus.KIND_LATENCY, GET, "shipping")
    objective = objectives_by_method()[GET]
    assert worst.latency.ToTimedelta().total_seconds() == objective.latency_s
    assert (worst.calls, worst.bad_calls, worst.window.ToTimedelta()) == (1000, 98, timedelta(days=30))
    assert worst.budget_left == pytest.approx(1 - 98 / (1000 * (1 - objective.latency_share)))
    assert (other.kind, other.bad_calls) == (pb.ObjectiveStatus.KIND_AVAILABILITY, 2)
    assert other.target_percent == pytest.approx(objective.availability * 100)
    assert other.budget_left == pytest.approx(1 - 2 / (1000 * (1 - objective.availability)))
    windows = [rate.window.ToTimedelta() for rate in other.burn_rates]
    assert windows == [timedelta(minutes=5), timedelta(hours=1), timedelta(hours=6), timedelta(days=3)]

    telemetry.clock.advance(2 * 3600)
    await serve(1400, 2, 98)
    telemetry.clock.advance(2)
    await serve(2400, 2, 98)
    telemetry.clock.advance(5)
    both = {status.kind: status for status in await found(telemetry, "shipping", 2000)}
    rates = [rate.rate for rate in both[pb.ObjectiveStatus.KIND_AVAILABILITY].burn_rates]
    budget = 1 - objective.availability
    assert rates == pytest.approx([0, 0, 2 / 2000 / budget, 2 / 2000 / budget])
    assert {status.method for status in await found(telemetry, "", 2000)} == {GET}, "streams have none, nor have others"
    assert not (await telemetry.queries.ListObjectives(pb.ListObjectivesRequest(service="orders"))).objectives


async def test_over_a_restart_each_call_counts_once(stage: Stage) -> None:
    def told(status: str, calls: int, start_ns: int) -> Metric:
        metric = histogram(CALLS, dict.fromkeys(BOUNDS, 0), calls, rpc__method=GET, rpc__response__status_code=status)
        [point] = metric.histogram.data_points
        point.start_time_unix_nano, point.time_unix_nano = start_ns, max(point.time_unix_nano, start_ns + MS)
        return metric

    start_ns = time.time_ns() - 1000 * MS
    before = await Telemetry.open(stage)
    await before.metrics(metrics_of("old/1", told("OK", 500, 1)))  # before we looked
    await before.metrics(metrics_of("idle/1", told("OK", 9, 1)))
    await before.metrics(metrics_of("young/1", told("OK", 40, start_ns)))
    before.clock.advance(2)
    await before.metrics(metrics_of("old/1", told("OK", 700, 1)))
    before.clock.advance(5)
    await found(before, "shipping", 200 + 40)

    after = await Telemetry.open(stage, database_url=before.app.settings.database_url)
    after.clock.advance(10)  # as the one before
    now_ns = time.time_ns() + 10_000 * MS
    await after.metrics(metrics_of("old/1", told("OK", 800, 1), told("UNAVAILABLE", 3, 1)))  # some of it meanwhile
    await after.metrics(metrics_of("idle/1", told("OK", 10, 1)))
    await after.metrics(metrics_of("young/1", told("OK", 41, start_ns)))
    await after.metrics(metrics_of("new/1", told("OK", 5, now_ns)))
    await after.metrics(metrics_of("unknown/1", told("OK", 5000, 1)))
    after.clock.advance(5)
    available, _ = sorted(await found(after, "shipping", 240 + 100 + 3 + 1 + 1 + 5), key=lambda status: status.kind)
    assert available.bad_calls == 3

    after.clock.advance(86_400 + 60)

    async def forgotten() -> bool:
        return not await after.app.database.rows("SELECT FROM calls_counted")

    await eventually(forgotten)


def test_a_budget_is_spent_by_each_bad_call_as_far_as_it_goes() -> None:
    objective = Objective(availability=0.99, latency_s=0.25, latency_share=0.9)
    counts = [Counts(1000, 5, 200), Counts(100, 5, 0), Counts(0, 0, 0), Counts(1000, 5, 200), Counts(1000, 10, 100)]
    available, fast = statuses(GET, objective, counts)
    assert [available.budget_left, fast.budget_left] == pytest.approx([0.5, -1])
    assert [rate.rate for rate in available.burn_rates] == pytest.approx([5, 0, 0.5, 1])
    assert [rate.rate for rate in fast.burn_rates] == pytest.approx([0, 0, 2, 1])
    assert (available.target_percent, fast.target_percent) == (99, 90)
    assert len(list(statuses(WATCH, Objective(latency_s=None), counts))) == 1


@pytest.mark.parametrize(("latency_s", "expected"), [(0.1, 9), (0.25, 7), (0.5, 4), (None, 0), (inf, 0)])
def test_a_call_is_slow_whose_bucket_lies_above_the_objective(latency_s: float | None, expected: int) -> None:
    assert slower(Objective(latency_s=latency_s), (0.1, 0.25, 0.5), (1, 2, 3, 4)) == expected


def test_every_method_that_is_answered_once_has_an_objective() -> None:
    methods = objectives_by_method()
    assert GET in methods
    assert WATCH not in methods
    assert not any(".operations." in method for method in methods), "every instance serves them: they are nobody's own"
