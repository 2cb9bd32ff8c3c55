"""Where goods that come back were bought."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from loadtest.trade import Invoice, Item, Role


@dataclass(slots=True, eq=False)
class Sale:
    """An order to be placed."""

    invoice: Invoice
    items: tuple[Item, ...]
    is_declined: bool
    """Whether its card is one that is declined, if it is asked at all."""
    is_short: bool
    """Whether it holds a product of which too little is stocked."""

    @property
    def total_minor(self) -> int:
        """What it comes to."""
        return sum(item.line.amount_minor for item in self.items)


@dataclass(slots=True, eq=False)
class Takeback:
    """An invoice that takes goods or charges back, each from the sale it was bought with, where that is known."""

    invoice: Invoice
    cancels: Sale | None = None
    """The sale of which this takes back everything."""
    origins: list[tuple[Item, Sale | None]] = field(default_factory=list)

    @property
    def items(self) -> tuple[Item, ...]:
        """All that is taken back."""
        return tuple(item for item, _ in self.origins)

    @property
    def sales(self) -> set[Sale]:
        """The sales it takes from."""
        return {sale for _, sale in self.origins if sale}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a takeback comes to, once it is known which of its sales took place."""

    cancels: Sale | None
    returns: dict[Sale | None, list[Item]]
    """By the sale they are linked to; None for those bought where our records do not reach."""
    credited: list[Item]


def settle(takeback: Takeback, took_place: Mapping[str, bool]) -> Settlement:
    """Decide what a takeback comes to; `took_place` says of each invoice whether its order was not refused.

    Of a sale that was refused nothing can come back: its goods then count as bought before, its charges are credited.
    """
    if takeback.cancels and took_place[takeback.cancels.invoice.number]:
        return Settlement(takeback.cancels, {}, [])
    returns: defaultdict[Sale | None, list[Item]] = defaultdict(list)
    credited: list[Item] = []
    for item, sale in takeback.origins:
        origin = sale if sale and took_place[sale.invoice.number] else None
        if item.role is Role.CHARGE_BACK and origin is None:
            credited.append(item)
        else:
            returns[origin].append(item)
    return Settlement(None, dict(returns), credited)


class Origins:
    """Finds the purchase that goods come back from.

    It is the customer's latest of that article at that price which still holds enough. A line is never split over
    purchases, so that it stays one line in the books.
    """

    def __init__(self) -> None:
        self._left: dict[Sale, Counter[tuple[str, int]]] = {}
        self._refundable_minor: dict[Sale, int] = {}
        self._untouched: set[Sale] = set()
        self._bought: defaultdict[tuple[str, str, int], list[Sale]] = defaultdict(list)

    def add(self, sale: Sale) -> None:
        """Take note of a purchase."""
        left: Counter[tuple[str, int]] = Counter()
        for item in sale.items:
            left[item.article, item.line.price_minor] += item.line.quantity
        for article, price_minor in left:
            self._bought[sale.invoice.customer_id, article, price_minor].append(sale)
        self._left[sale] = left
        self._refundable_minor[sale] = sale.total_minor
        self._untouched.add(sale)

    def takeback(self, invoice: Invoice, items: Sequence[Item]) -> Takeback:
        """Find where these items were bought; they are then no longer there to be taken back again."""
        if whole := self._whole(invoice, items):
            self._left[whole].clear()
            self._untouched.discard(whole)
            return Takeback(invoice, whole, [(item, whole) for item in items])
        return Takeback(invoice, None, [(item, self._take(invoice, item)) for item in items])

    def _whole(self, invoice: Invoice, items: Sequence[Item]) -> Sale | None:
        worth = Counter(item.worth for item in items)
        for sale in self._candidates(invoice, items[0]):
            if sale in self._untouched and Counter(item.worth for item in sale.items) == worth:
                return sale
        return None

    def _take(self, invoice: Invoice, item: Item) -> Sale | None:
        article, price_minor, quantity = item.worth
        for sale in self._candidates(invoice, item):
            enough = self._left[sale][article, price_minor] >= quantity
            if enough and self._refundable_minor[sale] >= quantity * price_minor:
                self._left[sale][article, price_minor] -= quantity
                self._refundable_minor[sale] -= quantity * price_minor
                self._untouched.discard(sale)
                return sale
        return None

    def _candidates(self, invoice: Invoice, item: Item) -> Iterable[Sale]:
        return reversed(self._bought.get((invoice.customer_id, item.article, item.line.price_minor), []))
