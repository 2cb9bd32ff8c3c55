"""Calls as text: the busiest first, and what goes wrong stands out."""

from __future__ import annotations

import io

from mercato.telemetry.v1.telemetry_pb2 import GetTrafficResponse, MethodTraffic, Rates
from rich.console import Console

from fleet import traffic_screen

PLACE, LIST = "mercato.orders.v1.OrderService/PlaceOrder", "mercato.catalog.v1.CatalogService/ListProducts"
TRAFFIC = GetTrafficResponse(
    methods=[
        MethodTraffic(
            service="orders",
            method=PLACE,
            rates=Rates(calls_per_second=2, faults_per_second=0.25, refusals_per_second=0.5, p50_s=0.012, p99_s=0.9),
        ),
        MethodTraffic(service="catalog", method=LIST, rates=Rates(calls_per_second=40, p50_s=0.001, p99_s=0.004)),
        MethodTraffic(service="orders", method="mercato.orders.v1.OrderService/CancelOrder"),
        MethodTraffic(service="gateway", method="POST /v1/orders", rates=Rates(calls_per_second=2)),
    ]
)


def printed(service: str = "", note: str = "") -> list[str]:
    output = io.StringIO()
    Console(file=output, width=160).print(traffic_screen.view(traffic_screen.chosen(TRAFFIC, service), 10, note))
    return output.getvalue().splitlines()


def test_the_busiest_methods_come_first_and_those_that_nobody_calls_not_at_all() -> None:
    methods = traffic_screen.chosen(TRAFFIC)
    assert [each.method for each in methods] == [LIST, "POST /v1/orders", PLACE]


def test_each_method_has_its_rates_and_times_and_all_have_a_sum() -> None:
    title, head, *rows = printed()
    assert title == "44.0 calls/s served by 3 services over 10 s, 0.25 faults/s"
    assert head.split() == ["service", "method", "calls/s", "faults/s", "refusals/s", "p50", "ms", "p99", "ms"]
    assert rows[0].split() == ["catalog", "CatalogService/ListProducts", "40.0", "0.00", "0.00", "1.0", "4.0"]
    assert rows[1].startswith("gateway POST /v1/orders")
    assert rows[2].split() == ["orders", "OrderService/PlaceOrder", "2.0", "0.25", "0.50", "12.0", "900.0"]


def test_one_service_can_be_chosen_and_a_note_stands_below() -> None:
    lines = printed("catalog", "telemetry does not answer")
    assert lines[0].startswith("40.0 calls/s served by 1 service over")
    assert lines[-1] == "telemetry does not answer"


def test_services_that_share_a_process_can_be_chosen_too() -> None:
    rates = Rates(calls_per_second=1)
    served = [("together", PLACE), ("together", LIST), ("gateway", PLACE), ("gateway", "POST /v1/orders")]
    traffic = GetTrafficResponse(
        methods=[MethodTraffic(service=service, method=method, rates=rates) for service, method in served]
    )

    def names(service: str, program: str) -> list[tuple[str, str]]:
        return [(each.service, each.method) for each in traffic_screen.chosen(traffic, service, program)]

    assert names("orders", "together") == [("together", PLACE)]
    assert names("together", "together") == [("together", LIST), ("together", PLACE)]
    assert names("gateway", "gateway") == [("gateway", "POST /v1/orders"), ("gateway", PLACE)]
    assert names("orders", "orders") == []


def test_on_a_narrow_terminal_methods_are_cut_short_and_nothing_else() -> None:
    rates = Rates(calls_per_second=1234.5, faults_per_second=12.25, refusals_per_second=0.5, p50_s=0.012, p99_s=9.75)
    called = [("notifications", "mercato.notifications.v1.NotificationService/ListMails"), ("orders", PLACE)]
    called += [("telemetry", "opentelemetry.proto.collector.metrics.v1.MetricsService/Export")]
    methods = [MethodTraffic(service=service, method=method, rates=rates) for service, method in called]
    output = io.StringIO()
    Console(file=output, width=80).print(traffic_screen.view(methods, 10))
    _, head, *rows = output.getvalue().splitlines()
    assert head.split() == ["service", "method", "calls/s", "faults/s", "refusals/s", "p50", "ms", "p99", "ms"]
    figures = ["1234.5", "12.25", "0.50", "12.0", "9750.0"]
    assert [row.split() for row in rows] == [
        ["notifications", "NotificationService/Lis…", *figures],
        ["orders", "OrderService/PlaceOrder", *figures],
        ["telemetry", "MetricsService/Export", *figures],
    ]
