"""What must be in the catalogue and on the shelves before trading begins."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from loadtest.trade import Invoice, Role


@dataclass(frozen=True, slots=True)
class Product:
    """What the catalogue must offer."""

    title: str
    prices_minor: tuple[int, ...]


class Share:
    """A percentage of all names: the same ones each time, without a list of them."""

    def __init__(self, percent: float, what: str) -> None:
        self._percent = percent
        self._what = what

    def takes(self, name: str) -> bool:
        """Return whether this name is among them."""
        digest = hashlib.sha256(f"{self._what} {name}".encode()).digest()
        return int.from_bytes(digest[:4]) % 10_000 < self._percent * 100


def opening(trade: Iterable[Invoice], short: Share) -> Counter[str]:
    """Count the pieces of each product to stock: all that ever leaves, whatever comes in meanwhile.

    Then the order of things does not matter. Of a product that is to be short, only half of what is sold.
    """
    sold: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for invoice in trade:
        for item in invoice.having(Role.GOODS):
            sold[item.article] += item.line.quantity
        for item in invoice.having(Role.ADJUSTMENT):
            lost[item.article] += max(0, -item.line.quantity)
    return lost + Counter(
        {article: pieces // 2 if short.takes(article) else pieces for article, pieces in sold.items()}
    )


def products(trade: Iterable[Invoice]) -> dict[str, Product]:
    """Find each product with the prices it was sold at.

    Its title is what most invoices call it; where stock is put right, notes such as `damages` stand in its place.
    """
    titles: defaultdict[str, Counter[str]] = defaultdict(Counter)
    prices: defaultdict[str, set[int]] = defaultdict(set)
    for invoice in trade:
        for item in invoice.having(Role.GOODS, Role.GOODS_BACK, Role.ADJUSTMENT):
            titles[item.article][item.line.description] += (
                item.role is not Role.ADJUSTMENT and item.line.description != ""
            )
            if item.role is Role.GOODS:
                prices[item.article].add(item.line.price_minor)
    return {
        article: Product(_title(article, counts), tuple(sorted(prices[article])))
        for article, counts in sorted(titles.items())
    }


def _title(article: str, counts: Counter[str]) -> str:
    title, count = min(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return title[:200] if count else f"Product {article}"
