"""Each invariant holds for books that add up, and is broken by what it is about, and by nothing else."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from mercato.inventory.v1.inventory_pb2 import Reservation, StockLine
from mercato.orders.v1.orders_pb2 import Order, OrderLine, Return, ReturnLine
from mercato.payments.v1.payments_pb2 import AccountBalance, Credit, Payment
from mercato.shipping.v1.shipping_pb2 import Shipment

from chassis.money import money
from fleet import control
from fleet import plan as plans
from fleet.check import judge
from fleet.errors import FleetError
from fleet.snapshot import Snapshot
from loadtest import commands as trading

ROOT = Path(__file__).parents[2]
PRODUCT = "products/85123A"
CONFIRMED, REFUSED, CANCELLED, PLACED = "orders/confirmed", "orders/refused", "orders/cancelled", "orders/placed"
BACK, UNLINKED = "returns/back", "returns/unlinked"


def pounds(minor_units: int) -> object:
    return money(minor_units, "GBP")


def an_order(name: str, state: Order.State.ValueType, *, returned: int = 0) -> Order:
    return Order(
        name=name,
        state=state,
        lines=[OrderLine(product=PRODUCT, quantity=5, unit_price=pounds(200), returned_quantity=returned)],
        total=pounds(1000),
        refunded=pounds(200 * returned),
    )


def a_return(name: str, order: str) -> Return:
    lines = [ReturnLine(product=PRODUCT, quantity=2, unit_price=pounds(200))]
    return Return(name=name, order=order, state=Return.STATE_COMPLETED, lines=lines, amount=pounds(400))


def a_payment(order: str, state: Payment.State.ValueType, captured: int, refunded: int) -> Payment:
    name = order.replace("orders", "payments")
    return Payment(name=name, order=order, state=state, captured=pounds(captured), refunded=pounds(refunded))


def a_reservation(order: str, state: Reservation.State.ValueType) -> Reservation:
    name = order.replace("orders", "reservations")
    return Reservation(name=name, state=state, lines=[StockLine(product=PRODUCT, quantity=5)])


def a_shipment(order: str, state: Shipment.State.ValueType) -> Shipment:
    return Shipment(name=order.replace("orders", "shipments"), order=order, state=state)


def books() -> Snapshot:
    """One order confirmed and partly returned, one refused, one cancelled, one under way, one unlinked return."""
    orders = [
        an_order(CONFIRMED, Order.STATE_CONFIRMED, returned=2),
        an_order(REFUSED, Order.STATE_REFUSED),
        an_order(CANCELLED, Order.STATE_CANCELLED),
        an_order(PLACED, Order.STATE_PLACED),
    ]
    returns = [a_return(BACK, CONFIRMED), a_return(UNLINKED, "")]
    payments = [
        a_payment(CONFIRMED, Payment.STATE_CAPTURED, 1000, 400),
        a_payment(CANCELLED, Payment.STATE_VOIDED, 1000, 1000),
        a_payment(PLACED, Payment.STATE_AUTHORIZED, 0, 0),
    ]
    reservations = [
        a_reservation(CONFIRMED, Reservation.STATE_COMMITTED),
        a_reservation(CANCELLED, Reservation.STATE_RELEASED),
        a_reservation(PLACED, Reservation.STATE_HELD),
    ]
    stored = {order.name: order for order in orders} | {returned.name: returned for returned in returns}
    movements = {"payments/confirmed": (1000, 400), "payments/cancelled": (1000, 1000), "credits/unlinked": (0, 400)}
    events = Counter(
        {
            ("mercato.orders.v1.OrderConfirmed", CONFIRMED): 1,
            ("mercato.orders.v1.OrderRefused", REFUSED): 1,
            ("mercato.orders.v1.ReturnCompleted", BACK): 1,
        }
    )
    return Snapshot(
        orders={order.name: order for order in orders},
        returns={returned.name: returned for returned in returns},
        rebuilt={name: type(document).FromString(document.SerializeToString()) for name, document in stored.items()},
        live_sagas={("Checkout", PLACED)},
        mail_events=events,
        mails=events.copy(),
        payments=payments,
        credit_notes=[Credit(name="credits/unlinked", amount=pounds(400))],
        balances=[
            AccountBalance(account="card_clearing", balance=pounds(200)),
            AccountBalance(account="sales", balance=pounds(-200)),
        ],
        booked=dict(movements),
        processed=dict(movements),
        stocks={PRODUCT: (99, 5)},
        adjusted=Counter({PRODUCT: 104}),
        restocked=Counter({(BACK, PRODUCT): 2, (UNLINKED, PRODUCT): 2}),
        reservations={reservation.name: reservation for reservation in reservations},
        shipments=[
            a_shipment(CONFIRMED, Shipment.STATE_DISPATCHED),
            a_shipment(CANCELLED, Shipment.STATE_CANCELLED),
            a_shipment(PLACED, Shipment.STATE_BOOKED),
        ],
        unpublished={"orders": 0, "payments": 0},
        dead_letters={"notifications": 0},
    )


def broken(held: Snapshot) -> set[str]:
    return {invariant.name for invariant in judge(held) if invariant.violations}


def test_books_that_add_up_break_nothing() -> None:
    assert broken(books()) == set()


LEDGER = "the ledger sums to zero"
MONEY = "captured - refunded is what orders say"
ON_HAND = "opening + adjustments + returned - sold is on hand"
HELD = "held is what reservations hold, and nothing is negative"
RESTOCKED = "what came back was restocked once"
FINAL = "every order and return is final or has a live saga"
CONFIRMED_MEANS = "confirmed means one payment captured and one live shipment"
UNDONE_MEANS = "refused and cancelled means nothing held, paid or under way"
DRAINED = "outboxes are drained"
DEAD = "there are no dead letters"
REBUILT = "orders and returns rebuilt from their events are those stored"
MAILS = "each event that asks for a mail has one"
STATEMENT = "the card processor's statement is the ledger's"


def lost_entry(held: Snapshot) -> None:
    held.balances.pop()


def charged_twice(held: Snapshot) -> None:
    twin = a_payment(CONFIRMED, Payment.STATE_CAPTURED, 1000, 0)
    twin.name = "payments/twin"
    held.payments.append(twin)
    held.booked[twin.name] = held.processed[twin.name] = (1000, 0)


def refund_forgotten(held: Snapshot) -> None:
    held.payments[0] = a_payment(CONFIRMED, Payment.STATE_CAPTURED, 1000, 0)
    held.booked["payments/confirmed"] = held.processed["payments/confirmed"] = (1000, 0)


def cancelled_but_kept(held: Snapshot) -> None:
    held.payments[1] = a_payment(CANCELLED, Payment.STATE_CAPTURED, 1000, 0)
    held.booked["payments/cancelled"] = held.processed["payments/cancelled"] = (1000, 0)


def paid_for_nothing(held: Snapshot) -> None:
    held.payments.append(a_payment("orders/none", Payment.STATE_AUTHORIZED, 0, 0))


def piece_vanished(held: Snapshot) -> None:
    held.stocks[PRODUCT] = (98, 5)


def negative(held: Snapshot) -> None:
    held.stocks[PRODUCT], held.adjusted[PRODUCT] = (-1, 5), 4


def hold_forgotten(held: Snapshot) -> None:
    held.stocks[PRODUCT] = (99, 10)


def restocked_twice(held: Snapshot) -> None:
    held.restocked[BACK, PRODUCT] = 4


def saga_lost(held: Snapshot) -> None:
    held.live_sagas.clear()


def never_shipped(held: Snapshot) -> None:
    held.shipments.pop(0)


def shipped_twice(held: Snapshot) -> None:
    held.shipments.append(a_shipment(CONFIRMED, Shipment.STATE_DELIVERED))


def shipped_though_refused(held: Snapshot) -> None:
    held.shipments.append(a_shipment(REFUSED, Shipment.STATE_BOOKED))


def held_though_refused(held: Snapshot) -> None:
    reservation = a_reservation(REFUSED, Reservation.STATE_HELD)
    held.reservations[reservation.name] = reservation
    held.stocks[PRODUCT] = (99, 10)


def unpublished(held: Snapshot) -> None:
    held.unpublished["orders"] = 1


def dead_letter(held: Snapshot) -> None:
    held.dead_letters["notifications"] = 1


def stored_otherwise(held: Snapshot) -> None:
    held.orders[REFUSED].reference = "changed behind its back"


def events_lost(held: Snapshot) -> None:
    del held.rebuilt[UNLINKED]


def mail_missing(held: Snapshot) -> None:
    held.mails.clear()


def mailed_twice(held: Snapshot) -> None:
    held.mails["mercato.orders.v1.OrderConfirmed", CONFIRMED] = 2


def processor_took_more(held: Snapshot) -> None:
    held.processed["payments/lost"] = (1000, 0)


def processor_gave_less(held: Snapshot) -> None:
    held.processed["credits/unlinked"] = (0, 300)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (lost_entry, {LEDGER}),
        (charged_twice, {MONEY, CONFIRMED_MEANS}),
        (refund_forgotten, {MONEY}),
        (cancelled_but_kept, {MONEY, UNDONE_MEANS}),
        (paid_for_nothing, {MONEY}),
        (piece_vanished, {ON_HAND}),
        (negative, {HELD}),
        (hold_forgotten, {HELD}),
        (restocked_twice, {RESTOCKED}),
        (saga_lost, {FINAL}),
        (never_shipped, {CONFIRMED_MEANS}),
        (shipped_twice, {CONFIRMED_MEANS}),
        (shipped_though_refused, {UNDONE_MEANS}),
        (held_though_refused, {UNDONE_MEANS}),
        (unpublished, {DRAINED}),
        (dead_letter, {DEAD}),
        (stored_otherwise, {REBUILT}),
        (events_lost, {REBUILT}),
        (mail_missing, {MAILS}),
        (mailed_twice, {MAILS}),
        (processor_took_more, {STATEMENT}),
        (processor_gave_less, {STATEMENT}),
    ],
)
def test_what_does_not_add_up_is_named(spoil: Callable[[Snapshot], None], names: set[str]) -> None:
    held = books()
    spoil(held)
    assert broken(held) == names


def test_that_a_database_is_away_is_said_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet is there, as its supervisor says, and its PostgreSQL is not."""
    monkeypatch.setenv("MERCATO_HOME", str(tmp_path))
    plans.make(ROOT, tmp_path, {}).save()

    def supervise(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            control.receive(connection)
            control.answer(connection, result={})

    with control.listening(tmp_path) as listener:
        supervisor = threading.Thread(target=supervise, args=[listener])
        supervisor.start()
        with pytest.raises(FleetError, match=r"^a database does not answer \(.+\); see `mercato ps`$"):
            trading.check()
        supervisor.join()
