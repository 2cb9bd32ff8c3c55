"""Who calls whom and how it goes, from metrics as instances send them."""

from __future__ import annotations

import pytest
from mercato.telemetry.v1 import telemetry_pb2 as pb
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric

from chassis.errors import InvalidArgument
from tests.stage import Stage
from tests.telemetry.support import CALLS, SERVED, Telemetry, counter, gauge, histogram, metrics_of

PLACE = "mercato.orders.v1.OrderService/PlaceOrder"
PAY = "mercato.payments.v1.PaymentService/AuthorizePayment"
CONFIRMED = "mercato.orders.v1.OrderConfirmed"


@pytest.fixture(name="telemetry")
async def telemetry_on_stage(stage: Stage) -> Telemetry:
    return await Telemetry.open(stage)


async def traffic(telemetry: Telemetry, seconds: float = 10) -> pb.GetTrafficResponse:
    request = pb.GetTrafficRequest()
    request.window.FromMilliseconds(int(seconds * 1000))
    return await telemetry.queries.GetTraffic(request)


async def test_edges_have_rates_faults_refusals_and_times(telemetry: Telemetry) -> None:
    for times in range(1, 4):  # 10 s apart: the last two make the window
        await telemetry.metrics(
            metrics_of(
                "orders/1",
                histogram(CALLS, {0.1: 90 * times, 0.5: 0}, rpc__method=PAY, rpc__response__status_code="OK"),
                histogram(CALLS, {0.1: 0, 0.5: 7 * times}, rpc__method=PAY, rpc__response__status_code="UNAVAILABLE"),
                histogram(CALLS, {0.1: 0, 0.5: 3 * times}, rpc__method=PAY, rpc__response__status_code="NOT_FOUND"),
                counter("mercato.client.retries", 5 * times, mercato__callee="payments"),
                gauge("mercato.client.breaker.state", times == 3 and 2, mercato__callee="payments", rpc__method=PAY),
                gauge("mercato.client.breaker.state", 0, mercato__callee="catalog", rpc__method="other"),
            )
        )
        telemetry.clock.advance(10 if times < 3 else 0)
    payments, catalog = sorted((await traffic(telemetry)).edges, key=lambda edge: edge.callee, reverse=True)
    assert (payments.caller, payments.callee, payments.open_breakers) == ("orders", "payments", 1)
    assert payments.retries_per_second == pytest.approx(0.5, rel=0.02)
    rates = payments.rates
    assert rates.calls_per_second == pytest.approx(10, rel=0.02)
    assert rates.faults_per_second == pytest.approx(0.7, rel=0.02)
    assert rates.refusals_per_second == pytest.approx(0.3, rel=0.02)
    assert rates.p50_s == pytest.approx(0.1 * 50 / 90)
    assert rates.p99_s == pytest.approx(0.1 + 0.4 * 0.9)
    assert (catalog.callee, catalog.open_breakers, catalog.rates.calls_per_second) == ("catalog", 0, 0)


async def test_instances_add_up_and_a_restart_takes_nothing_away(telemetry: Telemetry) -> None:
    def told(count: int) -> Metric:
        return histogram(
            CALLS, {1.0: count}, mercato__caller="orders", rpc__method=PAY, rpc__response__status_code="OK"
        )

    for one, other in ((1000, 10), (1010, 30), (5, 50)):  # the first is killed and comes back
        await telemetry.metrics(metrics_of("together/1", told(one)))
        await telemetry.metrics(metrics_of("orders/2", told(other)))
        telemetry.clock.advance(5)
    [edge] = (await traffic(telemetry)).edges
    assert (edge.caller, edge.callee) == ("orders", "payments"), "as the metric says, whatever process it is"
    assert edge.rates.calls_per_second == pytest.approx((10 + 5 + 40) / 10, rel=0.02)


async def test_methods_are_those_served_over_grpc_and_http(telemetry: Telemetry) -> None:
    def answered(count: int, status: str) -> Metric:
        return histogram(
            "http.server.request.duration", {1.0: count},
            http__request__method="POST", http__route="/v1/orders", http__response__status_code=status,
        )  # fmt: skip

    for times in (1, 2):
        await telemetry.metrics(
            metrics_of(
                "gateway/1",
                answered(times, "200"),
                answered(times, "503"),
                histogram(SERVED, {1.0: times}, rpc__method=PLACE, rpc__response__status_code="OK"),
                histogram(SERVED, {1.0: times}, rpc__method="grpc.health.v1.Health/Check"),
            )
        )
        telemetry.clock.advance(2)
    methods = {(it.service, it.method): it.rates for it in (await traffic(telemetry)).methods}
    assert set(methods) == {
        ("gateway", "POST /v1/orders"), ("gateway", PLACE), ("gateway", "grpc.health.v1.Health/Check")
    }  # fmt: skip
    assert methods["gateway", "POST /v1/orders"].calls_per_second == pytest.approx(1, rel=0.05)
    assert methods["gateway", "POST /v1/orders"].faults_per_second == pytest.approx(0.5, rel=0.05)


async def test_a_call_that_is_passed_on_counts_once_at_each(telemetry: Telemetry) -> None:
    for times in (1, 2):
        served = histogram(SERVED, {1.0: 100 * times}, rpc__method=PLACE, rpc__response__status_code="OK")
        for instance in ("gateway/1", "orders/1", "together/1"):
            await telemetry.metrics(metrics_of(instance, served))
        telemetry.clock.advance(10)
    rates = {it.service: it.rates.calls_per_second for it in (await traffic(telemetry)).methods}
    assert rates == {"gateway": pytest.approx(10, rel=0.02), "orders": pytest.approx(20, rel=0.02)}, (
        "orders serve in their own process and in one together with others"
    )


async def test_who_only_looks_on_calls_nobody(telemetry: Telemetry) -> None:
    for times in (1, 2):
        made = histogram(
            CALLS, {1.0: times}, mercato__caller="console", rpc__method=PLACE, rpc__response__status_code="UNAVAILABLE"
        )
        await telemetry.metrics(metrics_of("gateway/1", made))
        telemetry.clock.advance(10)
    assert not (await traffic(telemetry)).edges


async def test_streams_tell_what_is_handled_what_failed_and_what_waits(telemetry: Telemetry) -> None:
    of = {"messaging__consumer__group__name": "notifications"}
    for times in (1, 2):
        for instance, pending in ("notifications/1", 7), ("notifications/2", 6):
            await telemetry.metrics(
                metrics_of(
                    instance,
                    counter("messaging.client.consumed.messages", 10 * times, messaging__destination__name=CONFIRMED,
                            error__type="", **of),
                    counter("messaging.client.consumed.messages", times, messaging__destination__name=CONFIRMED,
                            error__type="retry", **of),
                    gauge("mercato.consumer.pending", pending, **of),
                    gauge("mercato.consumer.lag", 0.25, **of),
                )
            )  # fmt: skip
        telemetry.clock.advance(10)
    [stream] = (await traffic(telemetry)).streams
    assert (stream.producer, stream.consumer, stream.pending, stream.lag_s) == ("orders", "notifications", 7, 0.25)
    assert stream.events_per_second == pytest.approx(2, rel=0.02)
    assert stream.failures_per_second == pytest.approx(0.2, rel=0.02)


async def test_instances_show_their_gauges_until_they_are_silent(telemetry: Telemetry) -> None:
    await telemetry.metrics(
        metrics_of("orders/1", gauge("mercato.outbox.unpublished", 3), gauge("mercato.saga.live", 1, kind="Checkout"))
    )
    telemetry.clock.advance(10)
    await telemetry.metrics(metrics_of("payments/1", counter("calls", 3)))
    orders, payments = (await traffic(telemetry)).instances
    assert (orders.service, orders.instance, orders.version) == ("orders", "orders/1", "v1")
    assert dict(orders.gauges) == {"mercato.outbox.unpublished": 3, "mercato.saga.live{kind=Checkout}": 1}
    assert dict(payments.gauges) == {}
    telemetry.clock.advance(6)
    assert [it.instance for it in (await traffic(telemetry)).instances] == ["payments/1"]


async def test_who_has_very_much_to_say_takes_nothing_from_others(telemetry: Telemetry) -> None:
    def many(name: str, **of: str) -> list[Metric]:
        return [gauge(f"{name}{number}", 1, **of) for number in range(1000)]

    for number in range(3):
        for part in range(4):
            await telemetry.metrics(metrics_of(f"chatty/{number}", *many(f"{part}" * 200, a="b" * 300, c="d" * 300)))
    method = "m" * 250
    for kind, of in ((SERVED, {}), (CALLS, {"mercato__caller": method})):
        for service in range(3):
            methods = [f"mercato.{service}{number:03}{method}.v1.S/M" for number in range(1000)]
            metrics = (histogram(kind, {1.0: 1}, 0, rpc__method=of_one, **of) for of_one in methods)
            await telemetry.metrics(metrics_of(f"busy{service}/1", *metrics))
    await telemetry.metrics(metrics_of("zoo/1", gauge("mercato.outbox.unpublished", 3)))
    answer = await traffic(telemetry)
    assert answer.instances[-1].gauges["mercato.outbox.unpublished"] == 3
    assert answer.methods
    assert answer.edges


@pytest.mark.parametrize("seconds", [0, 121])
async def test_a_window_that_cannot_be_is_named(telemetry: Telemetry, seconds: float) -> None:
    with pytest.raises(InvalidArgument) as error:
        await traffic(telemetry, seconds)
    assert list(error.value.fields) == ["window"]
