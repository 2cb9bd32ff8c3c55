"""The categories that a reconciliation counts in: what lines became, by what is known of them on either side."""

from __future__ import annotations

from dataclasses import dataclass

from mercato.orders.v1 import orders_pb2 as orders
from mercato.payments.v1 import payments_pb2 as payments

NOT_BOOKED = "not booked"
REJECTED = "rejected"
OTHER_DAYS = "of other days"

SOLD, FREE = "sold", "given free"
CANCELLED_SALE, CANCELLATION = "sold, then cancelled", "cancellation"
RETURNED, RETURNED_UNLINKED = "returned", "returned, bought before"
WRITE_OFF, CORRECTION = "written off", "stock corrected"
TAKEN, REFUNDED, CREDITED = "taken by card", "refunded to card", "credited"


@dataclass(frozen=True, slots=True)
class Sum:
    """Lines, and the pieces and pence they come to, signed as in the file."""

    lines: int = 0
    pieces: int = 0
    pence: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.lines + other.lines, self.pieces + other.pieces, self.pence + other.pence)

    def __sub__(self, other: Sum) -> Sum:
        return Sum(self.lines - other.lines, self.pieces - other.pieces, self.pence - other.pence)

    def negated(self) -> Sum:
        """The same lines the other way: what comes back."""
        return Sum(self.lines, -self.pieces, -self.pence)


def sale_category(state: orders.Order.State.ValueType, reason: str, charge: str, price_minor: int) -> str:
    """Name what became of a line of an order; `charge` is the kind of a charge, empty for goods."""
    if state == orders.Order.STATE_CONFIRMED:
        return _charge_category("charged", charge) if charge else SOLD if price_minor else FREE
    if state == orders.Order.STATE_CANCELLED:
        return CANCELLED_SALE
    if state == orders.Order.STATE_REFUSED:
        return f"refused: {_words(reason)}"
    return f"order {_words(orders.Order.State.Name(state).removeprefix('STATE_'))}"


def return_category(is_linked: bool, charge: str) -> str:
    """Name what came back; `charge` as for an order, `is_linked` where the order is known."""
    if charge:
        return _charge_category("taken back", charge)
    return RETURNED if is_linked else RETURNED_UNLINKED


def _charge_category(what: str, kind: str) -> str:
    return f"{what}: {_words(kind.removeprefix('KIND_'))}"


def credit_category(reason: payments.Credit.Reason.ValueType) -> str:
    """Name money given without an order to take it from."""
    return f"credited: {_words(payments.Credit.Reason.Name(reason).removeprefix('REASON_'))}"


def fee_category(kind: payments.Fee.Kind.ValueType) -> str:
    """Name what a bank or marketplace charged."""
    return f"fee: {_words(payments.Fee.Kind.Name(kind).removeprefix('KIND_'))}"


def _words(name: str) -> str:
    return name.lower().replace("_", " ")
