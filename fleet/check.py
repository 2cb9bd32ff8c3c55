"""The invariants of the whole suite, each proved from what the services hold or named with what breaks it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mercato.inventory.v1.inventory_pb2 import Reservation
from mercato.orders.v1.orders_pb2 import Order, Return
from mercato.payments.v1.payments_pb2 import Payment
from mercato.shipping.v1.shipping_pb2 import Shipment
from rich.console import Console
from rich.text import Text

from chassis.money import minor
from fleet import client, snapshot
from fleet.plan import FRONT, Plan
from fleet.snapshot import Snapshot

SETTLE_S = 15.0
"""How long what is under way may take to come to rest."""
_LOOK_AGAIN_S = 0.5
_MOST_SHOWN = 20
_LIVE_SHIPMENTS = {Shipment.STATE_BOOKED, Shipment.STATE_DISPATCHED, Shipment.STATE_DELIVERED}
_UNDONE = {Order.STATE_REFUSED, Order.STATE_CANCELLED}


@dataclass(frozen=True, slots=True)
class Invariant:
    """Something that must hold, and what breaks it."""

    name: str
    violations: list[str]


async def check(plan: Plan, settle_s: float = SETTLE_S) -> list[Invariant]:
    """Prove all invariants of a running fleet; what is broken is looked at again until it had time to settle."""
    give_up = time.monotonic() + settle_s
    async with client.connect(plan.slot(f"{FRONT}/1").address) as shop:
        while True:
            invariants = judge(await snapshot.read(plan, shop))
            if not any(invariant.violations for invariant in invariants) or time.monotonic() > give_up:
                return invariants
            await asyncio.sleep(_LOOK_AGAIN_S)


def show(invariants: Iterable[Invariant], console: Console) -> None:
    """Print each with what breaks it."""
    for name, violations in ((invariant.name, invariant.violations) for invariant in invariants):
        console.print(Text.assemble(("broken  ", "bold red") if violations else ("ok      ", "green"), name))
        for violation in violations[:_MOST_SHOWN]:
            console.print(f"          {violation}", markup=False, highlight=False, soft_wrap=True)
        if len(violations) > _MOST_SHOWN:
            console.print(f"          … and {len(violations) - _MOST_SHOWN} more; `--json` has all")


def judge(held: Snapshot) -> list[Invariant]:
    """Judge a snapshot."""
    proofs = {
        "the ledger sums to zero": _ledger,
        "captured - refunded is what orders say": _money,
        "opening + adjustments + returned - sold is on hand": _on_hand,
        "held is what reservations hold, and nothing is negative": _held,
        "what came back was restocked once": _restocked,
        "every order and return is final or has a live saga": _final,
        "confirmed means one payment captured and one live shipment": _confirmed,
        "refused and cancelled means nothing held, paid or under way": _undone,
        "outboxes are drained": _drained,
        "there are no dead letters": _dead_letters,
        "orders and returns rebuilt from their events are those stored": _rebuilt,
        "each event that asks for a mail has one": _mails,
        "the card processor's statement is the ledger's": _statement,
    }
    return [Invariant(name, list(proof(held))) for name, proof in proofs.items()]


def _ledger(held: Snapshot) -> Iterator[str]:
    sums: Counter[str] = Counter()
    for account in held.balances:
        sums[account.balance.currency_code] += minor(account.balance)
    for currency, sum_minor in sums.items():
        if sum_minor:
            yield f"the accounts in {currency} sum to {sum_minor} minor units"


def _money(held: Snapshot) -> Iterator[str]:
    """An order's returns are given back once they are complete; those under way may or may not be yet."""
    payments = _payments_by_order(held)
    given_back: Counter[str] = Counter()
    under_way: set[str] = {subject for kind, subject in held.live_sagas if kind == "Checkout"}
    for returned in held.returns.values():
        if returned.state == Return.STATE_COMPLETED:
            given_back[returned.order] += minor(returned.amount)
        else:
            under_way.add(returned.order)
    for name, order in held.orders.items():
        if name not in under_way:
            expected = minor(order.total) - given_back[name] if order.state == Order.STATE_CONFIRMED else 0
            kept = sum(_kept_minor(payment) for payment in payments[name])
            if kept != expected:
                yield f"{name} kept {kept} minor units, but should {expected}"
            if order.state == Order.STATE_CONFIRMED and minor(order.refunded) != given_back[name]:
                yield f"{name} says {minor(order.refunded)} minor units refunded, its returns {given_back[name]}"
    for order_name in payments.keys() - held.orders.keys() - {""}:
        yield f"{order_name} was paid, but does not exist"


def _on_hand(held: Snapshot) -> Iterator[str]:
    sold: Counter[str] = Counter()
    for reservation in held.reservations.values():
        if reservation.state == Reservation.STATE_COMMITTED:
            sold.update({line.product: line.quantity for line in reservation.lines})
    for product in held.stocks.keys() | held.adjusted.keys() | sold.keys():
        on_hand, _ = held.stocks.get(product, (0, 0))
        if on_hand != held.adjusted[product] - sold[product]:
            yield f"{product}: {held.adjusted[product]} came in, {sold[product]} were sold, but {on_hand} are on hand"


def _held(held: Snapshot) -> Iterator[str]:
    reserved: Counter[str] = Counter()
    for reservation in held.reservations.values():
        if reservation.state == Reservation.STATE_HELD:
            reserved.update({line.product: line.quantity for line in reservation.lines})
    for product, (on_hand, held_pieces) in held.stocks.items():
        if held_pieces != reserved[product]:
            yield f"{product}: {held_pieces} are held, but reservations hold {reserved[product]}"
        if not 0 <= held_pieces <= on_hand:
            yield f"{product}: {on_hand} on hand, {held_pieces} held"


def _restocked(held: Snapshot) -> Iterator[str]:
    expected: Counter[tuple[str, str]] = Counter()
    for name, returned in held.returns.items():
        if returned.state == Return.STATE_COMPLETED:
            for line in returned.lines:
                expected[name, line.product] += line.quantity
    for name, product in expected.keys() | held.restocked.keys():
        pieces, wanted = held.restocked[name, product], expected[name, product]
        if pieces != wanted and ("Return", name) not in held.live_sagas:
            yield f"{name}: {pieces} of {product} were restocked, but {wanted} came back"


def _final(held: Snapshot) -> Iterator[str]:
    for name, order in held.orders.items():
        if order.state not in {Order.STATE_CONFIRMED, *_UNDONE} and ("Checkout", name) not in held.live_sagas:
            yield f"{name} is {Order.State.Name(order.state)}, and nothing carries it on"
    for name, returned in held.returns.items():
        if returned.state != Return.STATE_COMPLETED and ("Return", name) not in held.live_sagas:
            yield f"{name} is {Return.State.Name(returned.state)}, and nothing carries it on"


def _confirmed(held: Snapshot) -> Iterator[str]:
    payments, shipments = _payments_by_order(held), _live_shipments(held)
    for name, order in held.orders.items():
        if order.state == Order.STATE_CONFIRMED:
            captured = [minor(p.captured) for p in payments[name] if p.state == Payment.STATE_CAPTURED]
            if captured != ([minor(order.total)] if minor(order.total) else []):
                yield f"{name} comes to {minor(order.total)} minor units, captured are {captured}"
            if shipments[name] != bool(order.lines):
                yield f"{name} is confirmed with {shipments[name]} live shipments"


def _undone(held: Snapshot) -> Iterator[str]:
    payments, shipments = _payments_by_order(held), _live_shipments(held)
    for name, order in held.orders.items():
        if order.state in _UNDONE:
            reservation = held.reservations.get(f"reservations/{name.removeprefix('orders/')}", Reservation())
            if reservation.state in (Reservation.STATE_HELD, Reservation.STATE_COMMITTED):
                yield f"{name} is undone, but {reservation.name} is {Reservation.State.Name(reservation.state)}"
            for payment in payments[name]:
                if payment.state != Payment.STATE_VOIDED or _kept_minor(payment):
                    yield f"{name} is undone, but {payment.name} is {Payment.State.Name(payment.state)}"
            if shipments[name]:
                yield f"{name} is undone, but has {shipments[name]} live shipments"


def _drained(held: Snapshot) -> Iterator[str]:
    yield from (f"{service} has {count} unpublished events" for service, count in held.unpublished.items() if count)


def _dead_letters(held: Snapshot) -> Iterator[str]:
    yield from (f"{service} has {count} dead letters" for service, count in held.dead_letters.items() if count)


def _rebuilt(held: Snapshot) -> Iterator[str]:
    stored = {**held.orders, **held.returns}
    for name in stored.keys() | held.rebuilt.keys():
        if stored.get(name) != held.rebuilt.get(name):
            yield f"{name} is not what its events make it"


def _mails(held: Snapshot) -> Iterator[str]:
    for event_type, subject in held.mail_events.keys() | held.mails.keys():
        mails, wanted = held.mails[event_type, subject], held.mail_events[event_type, subject]
        if mails != wanted:
            yield f"{event_type} of {subject}: {mails} mails for {wanted} events"


def _statement(held: Snapshot) -> Iterator[str]:
    taken = {payment.name: minor(payment.captured) for payment in held.payments if payment.HasField("captured")}
    given = {payment.name: minor(payment.refunded) for payment in held.payments if payment.HasField("refunded")}
    given |= {credit.name: minor(credit.amount) for credit in held.credit_notes}
    ours = {name: (taken.get(name, 0), given.get(name, 0)) for name in taken.keys() | given.keys()}
    for name in ours.keys() | held.booked.keys() | held.processed.keys():
        sides = [side.get(name, (0, 0)) for side in (ours, held.booked, held.processed)]
        if len(set(sides)) > 1:
            yield f"{name}: payments say {sides[0]}, the ledger {sides[1]}, the processor {sides[2]} (taken, given)"


def _kept_minor(payment: Payment) -> int:
    captured = minor(payment.captured) if payment.HasField("captured") else 0
    return captured - minor(payment.refunded) if payment.HasField("refunded") else captured


def _payments_by_order(held: Snapshot) -> defaultdict[str, list[Payment]]:
    by_order: defaultdict[str, list[Payment]] = defaultdict(list)
    for payment in held.payments:
        by_order[payment.order].append(payment)
    return by_order


def _live_shipments(held: Snapshot) -> Counter[str]:
    live: Iterable[Shipment] = (shipment for shipment in held.shipments if shipment.state in _LIVE_SHIPMENTS)
    return Counter(shipment.order for shipment in live)
