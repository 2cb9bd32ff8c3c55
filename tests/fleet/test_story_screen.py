"""A story as text: the waterfall to scale, and nothing of what happened missing."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from mercato.inventory.v1.inventory_pb2 import Reservation, StockLine
from mercato.notifications.v1.notifications_pb2 import Mail
from mercato.operations.v1.operations_pb2 import Event, Saga, SagaRefusal, SagaStep
from mercato.orders.v1.orders_pb2 import Order, Refusal
from mercato.payments.v1.payments_pb2 import LedgerEntry, Payment
from mercato.shipping.v1.shipping_pb2 import Shipment
from mercato.telemetry.v1.telemetry_pb2 import Span, SpanLink, Trace
from rich.console import Console

from chassis.money import money
from fleet import story_screen
from fleet.errors import FleetError
from fleet.story import Story, ToldEvent, name_of
from fleet.story_screen import bar, tree

BEGIN = datetime(2026, 11, 23, 10, tzinfo=UTC)
ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def at(ms: float) -> Timestamp:
    time = Timestamp()
    time.FromDatetime(BEGIN + timedelta(milliseconds=ms))
    return time


def span(id: str, parent: str, ms: float, took_ms: float, **fields: Any) -> Span:  # noqa: A002
    duration = Duration()
    duration.FromTimedelta(timedelta(milliseconds=took_ms))
    told = {"name": id, "service": "orders", **fields}
    return Span(id=id, parent_id=parent, start_time=at(ms), duration=duration, **told)


def trace(*spans: Span, took_ms: float = 100) -> Trace:
    duration = Duration()
    duration.FromTimedelta(timedelta(milliseconds=took_ms))
    return Trace(name=f"traces/{ID}", root="POST /v1/orders", start_time=at(0), duration=duration, spans=spans)


def printed(story: Story, width: int = 200) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(story_screen.view(story, width))
    return output.getvalue()


def test_spans_stand_under_what_they_are_part_of_in_the_order_of_time() -> None:
    spans = [span("b2", "b", 30, 1), span("c", "a", 50, 1), span("b", "a", 10, 30), span("a", "", 0, 100)]
    spans += [span("b1", "b", 20, 1), span("orphan", "lost", 5, 1)]
    assert [(depth, each.id) for depth, each in tree(spans)] == [
        (0, "a"), (1, "b"), (2, "b1"), (2, "b2"), (1, "c"), (0, "orphan"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("begin_ms", "took_ms", "expected"),
    [
        (0, 100, "█" * 40),
        (50, 25, " " * 20 + "█" * 10),
        (99.9, 0.1, " " * 39 + "▏"),
        (90, 100, " " * 36 + "█" * 4),  # its clock is not the first one's
        (200, 1, " " * 39 + "▏"),
    ],
)
def test_bars_are_to_scale_and_keep_within_the_whole(begin_ms: float, took_ms: float, expected: str) -> None:
    assert bar(trace(), span("a", "", begin_ms, took_ms), 40) == expected


def test_a_waterfall_says_who_did_what_how_long_and_what_failed() -> None:
    text = printed(
        Story(
            "orders/1",
            traces=[
                trace(
                    span("1", "", 0, 100, name="mercato.orders.v1.OrderService/PlaceOrder", kind=Span.KIND_SERVER),
                    span(
                        "2", "1", 10, 20,
                        name="authorize_payment", service="payments", failed=True, status_message="too slow",
                        attributes={"mercato.saga.attempt": "3", "error.type": "DEADLINE_EXCEEDED"},
                        links=[SpanLink(trace=f"traces/{'a' * 32}")],
                    ),
                )
            ],
        ),
        width=260,
    )  # fmt: skip
    assert "POST /v1/orders  100.0 ms, 2 spans" in text
    assert "OrderService/PlaceOrder" in text
    assert "mercato.orders" not in text
    [failed] = [line for line in text.splitlines() if "authorize_payment" in line]
    for said in ("payments", "20.0 ms", "DEADLINE_EXCEEDED too slow", "attempt 3", f"from traces/{'a' * 32}"):
        assert said in failed


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_waterfall_fits_its_terminal_with_each_time_in_sight(width: int) -> None:
    spans = [span(f"{depth}", f"{depth - 1}" if depth else "", depth, 50, name="x" * 50) for depth in range(30)]
    lines = printed(Story("orders/1", traces=[trace(*spans)]), width).splitlines()
    shown = [line for line in lines if line.endswith("50.0 ms")]
    assert len(shown) == len(spans)
    assert max(map(len, lines)) <= width


def test_what_was_undone_before_it_was_done_says_no_more_than_that() -> None:
    """Of an order cancelled before its card was asked: each undo left a mark that refuses the step when it comes."""
    text = printed(
        Story(
            "orders/1",
            head=Order(name="orders/1", state=Order.STATE_CANCELLED, customer="customers/ada", place_time=at(0)),
            resources=[
                Reservation(name="reservations/1", state=Reservation.STATE_RELEASED),
                Payment(name="payments/1", state=Payment.STATE_VOIDED),
                Shipment(name="shipments/1", state=Shipment.STATE_CANCELLED),
            ],
        )
    )
    [head] = [line for line in text.splitlines() if line.startswith("orders/1")]
    assert "  CANCELLED  customers/ada  " in head
    *_, reservation, payment, shipment = (line.rstrip() for line in text.splitlines())
    assert (reservation, payment, shipment) == (
        "reservations/1  RELEASED", "payments/1  VOIDED", "shipments/1  CANCELLED",
    )  # fmt: skip


def test_goods_and_money_are_said_as_far_as_they_go() -> None:
    payment = Payment(
        name="payments/1", state=Payment.STATE_CAPTURED, amount=money(1250, "GBP"), refunded=money(250, "GBP")
    )
    booked = Shipment(name="shipments/1", state=Shipment.STATE_BOOKED, pieces=3)
    sent = Shipment(name="shipments/2", state=Shipment.STATE_DISPATCHED, pieces=3, tracking_number="MT7")
    *_, first, second, third = printed(Story("orders/1", resources=[payment, booked, sent])).splitlines()
    assert first == "payments/1  CAPTURED  12.50 GBP, refunded 2.50 GBP"
    assert second == "shipments/1  BOOKED  3 pieces"
    assert third == "shipments/2  DISPATCHED  3 pieces, MT7"


def test_a_failure_told_in_several_lines_keeps_to_one() -> None:
    failed = span("1", "", 0, 50, failed=True, status_message="could not\n  be\nmade", attributes={"error.type": "E"})
    *_, line = printed(Story("orders/1", traces=[trace(failed)])).splitlines()
    assert "50.0 ms  E could not be made" in line


def test_a_failure_that_has_much_to_say_keeps_to_its_line_behind_the_attempt() -> None:
    attributes = {"mercato.saga.attempt": "7", "error.type": "CIRCUIT_OPEN"}
    failed = span("1", "", 0, 50, failed=True, status_message="It keeps failing. " * 20, attributes=attributes)
    *_, line = printed(Story("orders/1", traces=[trace(failed)]), 120).splitlines()
    assert "50.0 ms  attempt 7  CIRCUIT_OPEN" in line


def test_while_telemetry_is_away_it_does_not_say_that_nothing_was_recorded() -> None:
    text = printed(Story("orders/1", missing={"telemetry": "It could not be reached."}))
    assert "telemetry does not answer: It could not be reached." in text
    assert "recorded" not in text


def test_without_a_recorded_trace_it_says_how_to_record_all_and_tells_the_rest() -> None:
    order = Order(
        name="orders/1", state=Order.STATE_REFUSED, customer="customers/ada", total=money(1250, "GBP"),
        refusal=Refusal(step="authorize_payment", reason="CARD_DECLINED", message="The card was declined."),
        place_time=at(0), final_time=at(500), email="ada@customers.example",
    )  # fmt: skip
    done, refused, skipped = SagaStep.STATE_UNDONE, SagaStep.STATE_REFUSED, SagaStep.STATE_SKIPPED
    saga = Saga(
        kind="Checkout", status="undone", step="reserve_stock",
        refusal=SagaRefusal(step="authorize_payment", reason="CARD_DECLINED", message="The card was declined."),
        steps=[
            SagaStep(name=name, state=state)
            for name, state in (("reserve_stock", done), ("authorize_payment", refused), ("book_shipment", skipped))
        ],
    )  # fmt: skip
    event = Event(
        id="orders/1/2", type="mercato.orders.v1.OrderRefused", version=2, create_time=at(0), publish_time=at(10)
    )
    waiting = Event(id="orders/1/3", type="mercato.orders.v1.OrderCancelled", create_time=at(20))
    text = printed(
        Story(
            "orders/1",
            head=order,
            unrecorded=[f"traces/{ID}"],
            sagas=[saga],
            events=[
                ToldEvent("orders", event, {"notifications": BEGIN + timedelta(milliseconds=120)}),
                ToldEvent("orders", waiting, {}),
            ],
            ledger=[
                LedgerEntry(
                    debit_account="card_clearing", credit_account="revenue", amount=money(1250, "GBP"),
                    subject="payments/1", create_time=at(30),
                )
            ],
            resources=[
                Reservation(
                    name="reservations/1", state=Reservation.STATE_RELEASED, lines=[StockLine(quantity=3)]
                ),
                Payment(name="payments/1", state=Payment.STATE_VOIDED, amount=money(1250, "GBP")),
            ],
            mails=[
                Mail(
                    name="mails/1", subject="Your order", state=Mail.STATE_KEPT,
                    event_type="mercato.orders.v1.OrderRefused", recipient="ada@customers.example",
                )
            ],
            missing={"shipping": "The service could not be reached."},
        )
    )  # fmt: skip
    for said in (
        "orders/1  REFUSED  customers/ada  12.50 GBP  2026-11-23 10:00:00 UTC, final after 0.50 s",
        "authorize_payment: CARD_DECLINED: The card was declined.",
        f"No trace of it was recorded (traces/{ID})",
        "MERCATO_TRACE_RATIO=1 MERCATO_TRACES_PER_SECOND=1000",
        "↶ reserve_stock        undone", "✗ authorize_payment    refused", "· book_shipment        never begun",
        "OrderRefused           orders/1/2  handled by notifications +0.12 s",
        "OrderCancelled         orders/1/3  waits in the outbox",
        "card_clearing ← revenue  12.50 GBP  payments/1",
        "reservations/1  RELEASED  3 pieces of 1 products", "payments/1  VOIDED  12.50 GBP",
        "Your order  KEPT  mails/1, of OrderRefused",
        "shipping does not answer: The service could not be reached.",
    ):  # fmt: skip
        assert said in text
    assert "ada@customers.example" not in text


def test_traces_that_were_not_asked_for_are_named() -> None:
    assert f"Further traces, each for `mercato trace`: traces/{ID}" in printed(
        Story("orders/1", further=[f"traces/{ID}"])
    )


def test_a_story_as_json_has_nothing_sensitive() -> None:
    order = Order(name="orders/1", email="ada@customers.example", card_token="tok_1")
    told = Story("orders/1", head=order).as_dict()
    assert told["head"] == {"name": "orders/1", "email": "[REDACTED]", "cardToken": "[REDACTED]"}


def test_what_a_story_can_be_about() -> None:
    assert name_of("orders/0193-a_B") == "orders/0193-a_B"
    assert name_of("returns/1") == "returns/1"
    assert name_of(ID) == name_of(f"traces/{ID}") == f"traces/{ID}"
    for wrong in ("", "orders/", "orders", "products/1", "traces/1", ID[:-1], "orders/a b"):
        with pytest.raises(FleetError, match="expected orders/ID"):
            name_of(wrong)
