"""What a replay will do, worked out before it begins: what to stock, what to sell, and what comes back from where."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from dataclasses import dataclass
from datetime import date

from loadtest.lines import Rejected, TradeFile
from loadtest.origins import Origins, Sale, Takeback
from loadtest.stocking import Product, Share, opening, products
from loadtest.trade import Invoice, Item, Role, invoices


@dataclass(frozen=True, slots=True)
class Options:
    """What is traded differently from how it was; part of a replay's identity."""

    day: date | None = None
    short_percent: float = 0
    """Of the products, those of which too little is stocked."""
    decline_percent: float = 0
    """Of the orders, those whose card is declined."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Tells a replay from every other: the same file with the same options is the same replay."""

    key: str

    @classmethod
    def of(cls, file_digest: str, options: Options) -> Identity:
        """Derive it from what is replayed and how."""
        text = f"{file_digest} {options.day} {options.short_percent:g} {options.decline_percent:g}"
        return cls(hashlib.sha256(text.encode()).hexdigest()[:8])

    def request_id(self, *purpose: object) -> str:
        """Return the id of the request with a purpose: the same each time, so that a repeat does nothing new."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("mercato", self.key, *map(str, purpose)))))

    def reference(self, label: object) -> str:
        """Return what an order or booking of this replay is marked with."""
        return f"{label}/{self.key}"

    def label(self, reference: str) -> str | None:
        """Return what a reference of this replay was made from, or None for one of another's."""
        label, _, key = reference.rpartition("/")
        return label if key == self.key else None


@dataclass(frozen=True, slots=True)
class Booking:
    """A line that is booked by itself: a fee, or stock put right."""

    invoice: Invoice
    item: Item

    @property
    def items(self) -> tuple[Item, ...]:
        """The one line."""
        return (self.item,)


Step = Sale | Takeback | Booking


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a replay does."""

    identity: Identity
    file: TradeFile
    rejected: tuple[Rejected, ...]
    products: dict[str, Product]
    opening: Counter[str]
    """Pieces of each product to stock before trading."""
    early: tuple[Booking, ...]
    """Write-offs of products that will be short: booked first, so that no sale can leave too little for them."""
    steps: tuple[Step, ...]
    """In the order of their time."""


def plan(file: TradeFile, options: Options) -> Plan:
    """Work out a replay of a file."""
    trade, untradable = invoices(file.lines)
    short = Share(options.short_percent, "product")
    declined = Share(options.decline_percent, "invoice")
    origins = Origins()
    steps: list[Step] = []
    early: list[Booking] = []
    for invoice in trade:
        if items := invoice.having(Role.GOODS, Role.CHARGE):
            is_short = any(item.role is Role.GOODS and short.takes(item.article) for item in items)
            steps.append(sale := Sale(invoice, items, declined.takes(invoice.number), is_short))
            origins.add(sale)
        if items := invoice.having(Role.GOODS_BACK, Role.CHARGE_BACK):
            steps.append(origins.takeback(invoice, items))
        for item in invoice.having(Role.FEE, Role.ADJUSTMENT):
            is_short = item.role is Role.ADJUSTMENT and short.takes(item.article)
            (early if is_short and item.line.quantity < 0 else steps).append(Booking(invoice, item))
    rejected = sorted((*file.rejected, *untradable), key=lambda line: line.number)
    return Plan(
        Identity.of(file.digest, options),
        file,
        tuple(rejected),
        products(trade),
        opening(trade, short),
        tuple(early),
        tuple(steps),
    )
