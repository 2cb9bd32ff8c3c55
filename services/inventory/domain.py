"""What is decided about reservations and adjustments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from google.protobuf.message import Message
from mercato.inventory.v1.inventory_pb2 import (
    AdjustStockRequest,
    Reservation,
    ReservationCommitted,
    ReservationExpired,
    ReservationReleased,
    ReserveStockRequest,
    StockAdjusted,
    StockLine,
    StockReserved,
)

from chassis.clock import timestamp
from chassis.errors import FailedPrecondition, invalid_field

DEFAULT_HOLD = timedelta(minutes=15)


class OutOfStock(FailedPrecondition):
    """Of {product} only {available} pieces are available, not {quantity}."""


class ReservationNotHeld(FailedPrecondition):
    """{name} is no longer held."""


def reserve(request: ReserveStockRequest, now: datetime) -> list[Message]:
    """Hold pieces."""
    for index, line in enumerate(request.lines):
        if line.quantity < 1:
            raise invalid_field(f"lines[{index}].quantity", "expected 1 or more")
    hold = request.hold.ToTimedelta() if request.HasField("hold") else DEFAULT_HOLD
    reservation = Reservation(
        name=f"reservations/{request.reservation_id}",
        state=Reservation.STATE_HELD,
        lines=added_up(request.lines),
        expire_time=timestamp(now + hold),
    )
    return [StockReserved(reservation=reservation)]


def commit(reservation: Reservation) -> list[Message]:
    """Let the held pieces leave."""
    if reservation.state == Reservation.STATE_COMMITTED:
        return []
    if reservation.state != Reservation.STATE_HELD:
        raise ReservationNotHeld(name=reservation.name)
    return [ReservationCommitted(name=reservation.name)]


def release(reservation: Reservation, name: str) -> list[Message]:
    """Undo a reservation, whatever became of it."""
    if reservation.state in (Reservation.STATE_RELEASED, Reservation.STATE_EXPIRED):
        return []
    return [ReservationReleased(name=name, restocked=reservation.state == Reservation.STATE_COMMITTED)]


def expire(reservation: Reservation, now: datetime) -> list[Message]:
    """Free the held pieces once their time has run out."""
    if reservation.state != Reservation.STATE_HELD or timestamp(now).ToNanoseconds() < (
        reservation.expire_time.ToNanoseconds()
    ):
        return []
    return [ReservationExpired(name=reservation.name)]


def adjust(request: AdjustStockRequest) -> StockAdjusted:
    """Change what is on hand."""
    for index, line in enumerate(request.lines):
        if line.quantity == 0:
            raise invalid_field(f"lines[{index}].quantity", "expected not zero")
    return StockAdjusted(reason=request.reason, lines=added_up(request.lines), reference=request.reference)


def added_up(lines: Iterable[StockLine]) -> list[StockLine]:
    """Return each product once, by name."""
    quantities: Counter[str] = Counter()
    for line in lines:
        quantities[line.product] += line.quantity
    return [StockLine(product=product, quantity=quantity) for product, quantity in sorted(quantities.items())]


def evolve(reservation: Reservation, event: Message) -> None:
    """Apply one event."""
    match event:
        case StockReserved():
            reservation.CopyFrom(event.reservation)
        case ReservationCommitted():
            reservation.state = Reservation.STATE_COMMITTED
        case ReservationReleased():
            reservation.name = event.name
            reservation.state = Reservation.STATE_RELEASED
        case ReservationExpired():
            reservation.state = Reservation.STATE_EXPIRED
