"""What each line was in the trade: goods sold, given or brought back, charges, fees, stock put right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from mercato.orders.v1 import orders_pb2 as orders
from mercato.payments.v1 import payments_pb2 as payments

from loadtest.lines import Line, Rejected

_GOODS = re.compile(r"[0-9]{5}[A-Za-z]{0,3}|DCGS[A-Za-z0-9]{1,12}|PADS|(SP|TEST)[0-9]{3,4}", re.IGNORECASE)
_CHARGES = {
    "POST": orders.Charge.KIND_CARRIAGE,
    "DOT": orders.Charge.KIND_CARRIAGE,
    "C2": orders.Charge.KIND_CARRIAGE,
    "C3": orders.Charge.KIND_CARRIAGE,
    "M": orders.Charge.KIND_MANUAL,
    "D": orders.Charge.KIND_DISCOUNT,
    "S": orders.Charge.KIND_SAMPLES,
    "GIFT": orders.Charge.KIND_VOUCHER,
    "BANK CHARGES": orders.Charge.KIND_FEE,
}
_FEES = {
    "AMAZONFEE": payments.Fee.KIND_MARKETPLACE,
    "CRUK": payments.Fee.KIND_MARKETPLACE,
    "BANK CHARGES": payments.Fee.KIND_BANK,
    "B": payments.Fee.KIND_BAD_DEBT,
}


class Role(StrEnum):
    """The part a line plays."""

    GOODS = "goods"
    CHARGE = "charge"
    GOODS_BACK = "goods back"
    CHARGE_BACK = "charge back"
    FEE = "fee"
    ADJUSTMENT = "adjustment"


_MOST = {Role.GOODS: 2000, Role.GOODS_BACK: 2000, Role.CHARGE: 100, Role.CHARGE_BACK: 100}
"""Lines of a role in one order or return: what orders accept."""


@dataclass(frozen=True, slots=True)
class Item:
    """A line and the part it plays."""

    line: Line
    role: Role
    article: str
    """The product's id, or the name of the kind of charge or fee."""

    @property
    def worth(self) -> tuple[str, int, int]:
        """What it is, its price and how much of it, whichever way it goes."""
        return self.article, self.line.price_minor, abs(self.line.quantity)


@dataclass(slots=True)
class Invoice:
    """The lines of one invoice."""

    number: str
    customer_id: str
    is_guest: bool
    region_code: str
    time: datetime
    items: list[Item] = field(default_factory=list)

    @property
    def customer(self) -> str:
        """`customers/{customer}`."""
        return f"customers/{self.customer_id}"

    def having(self, *roles: Role) -> tuple[Item, ...]:
        """Return the items that play one of these parts."""
        return tuple(item for item in self.items if item.role in roles)


def invoices(lines: Iterable[Line]) -> tuple[list[Invoice], list[Rejected]]:
    """Sort lines into invoices, the earliest first, and reject what can't be traded."""
    grouped: dict[str, list[Line]] = {}
    for line in lines:
        grouped.setdefault(line.invoice, []).append(line)
    made: list[Invoice] = []
    rejected: list[Rejected] = []
    for group in grouped.values():
        invoice = _invoice(group, rejected)
        if invoice.items:
            made.append(invoice)
    made.sort(key=lambda invoice: invoice.time)
    return made, rejected


def _invoice(lines: list[Line], rejected: list[Rejected]) -> Invoice:
    first = lines[0]
    is_guest = not first.customer
    customer_id = f"guest-{first.invoice}" if is_guest else first.customer
    invoice = Invoice(first.invoice, customer_id, is_guest, first.region_code, first.time)
    paid_minor = sum(line.amount_minor for line in lines if line.quantity > 0)
    discount_minor = -sum(line.amount_minor for line in lines if line.code.upper() == "D" and line.quantity < 0)
    counts: Counter[Role] = Counter()
    for line in lines:
        try:
            if line.customer != first.customer:
                raise ValueError(f"CustomerID {line.customer or 'of a guest'} on an invoice of another customer")
            item = _item(line, is_order=paid_minor > 0 or not is_guest, is_deductible=discount_minor < paid_minor)
            if counts[item.role] >= _MOST.get(item.role, counts.total() + 1):
                raise ValueError(f"more than {_MOST[item.role]} lines of {item.role} on one invoice")
        except ValueError as error:
            text = f"{line.invoice},{line.code},{line.description},{line.quantity},{line.price_minor / 100:.2f}"
            rejected.append(Rejected(line.number, str(error), text))
        else:
            counts[item.role] += 1
            invoice.items.append(item)
    return invoice


def _item(line: Line, *, is_order: bool, is_deductible: bool) -> Item:
    code = line.code.upper()
    if code in _FEES and not (code == "BANK CHARGES" and line.customer):
        if not line.price_minor:
            raise ValueError("a fee of nothing")
        return Item(line, Role.FEE, payments.Fee.Kind.Name(_FEES[code]))
    if line.price_minor < 0:
        raise ValueError("a negative price")
    if _GOODS.fullmatch(code):
        return Item(line, _role_of_goods(line, is_order=is_order), code)
    kind = orders.Charge.KIND_VOUCHER if code.startswith("GIFT_") else _CHARGES.get(code)
    if kind is None:
        raise ValueError(f"StockCode {line.code!r} is no goods and no charge that is known")
    if not line.price_minor and not (is_order and line.quantity > 0):
        raise ValueError("a charge of nothing to nobody")
    if kind == orders.Charge.KIND_DISCOUNT and line.quantity > 0:
        kind = orders.Charge.KIND_MANUAL  # a discount withdrawn: the customer pays
    deducts = kind == orders.Charge.KIND_DISCOUNT and is_deductible and not line.is_cancellation
    role = Role.CHARGE if line.quantity > 0 or deducts else Role.CHARGE_BACK
    return Item(line, role, orders.Charge.Kind.Name(kind))


def _role_of_goods(line: Line, *, is_order: bool) -> Role:
    if line.quantity > 0:
        return Role.GOODS if line.price_minor or is_order else Role.ADJUSTMENT
    return Role.GOODS_BACK if line.price_minor or line.is_cancellation else Role.ADJUSTMENT
