"""What can happen to a product and its prices."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import datetime

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from mercato.catalog.v1.catalog_pb2 import (
    Price,
    PriceOffered,
    PriceWithdrawn,
    Product,
    ProductCreated,
    ProductUpdated,
)

from chassis.clock import timestamp, utc
from chassis.errors import AlreadyExists, FailedPrecondition, NotFound, invalid_field
from chassis.money import minor, money, plain

MOST_PRICES = 1000
CHANGEABLE = ("title",)


class PriceOnOffer(AlreadyExists):
    """{name} is on offer at {amount} already."""


class PriceNotOnOffer(NotFound):
    """{name} is not on offer at {amount}."""


class TooManyPrices(FailedPrecondition):
    """{name} cannot have more than {most} prices, past ones included."""


def checked(asked: Product, now: datetime) -> Product:
    """Return what a caller says of a product without the rest; InvalidArgument names what is wrong with a price."""
    prices = [checked_price(price, f"product.prices[{number}]", now) for number, price in enumerate(asked.prices)]
    return Product(name=asked.name, title=asked.title, prices=prices)


def checked_price(price: Price, field: str, now: datetime) -> Price:
    """Return a price exactly; InvalidArgument names what is wrong with it."""
    result = Price(amount=checked_amount(price.amount, f"{field}.amount"))
    for name in ("start_time", "end_time"):
        if price.HasField(name):
            time = getattr(price, name)
            if utc(time, f"{field}.{name}") > now:
                raise invalid_field(f"{field}.{name}", "expected a time that is not to come yet")
            getattr(result, name).CopyFrom(time)
    if price.HasField("end_time") and (not price.HasField("start_time") or _ended(price, price.start_time)):
        raise invalid_field(f"{field}.end_time", "expected a time after start_time")
    return result


def checked_amount(amount: Money, field: str) -> Money:
    """Return an amount exactly; InvalidArgument names what is wrong with it."""
    amount_minor = minor(amount, field)
    if amount_minor < 0:
        raise invalid_field(f"{field}.units", "expected zero or more")
    return money(amount_minor, amount.currency_code)


def create(asked: Product, now: datetime) -> list[Message]:
    """Add a product that was checked."""
    prices = sorted(_lacking(asked.name, [], asked.prices, now), key=_latest_first)
    product = Product(name=asked.name, title=asked.title, prices=prices, create_time=timestamp(now))
    return [ProductCreated(product=product)]


def bring_in(product: Product, asked: Product, now: datetime) -> list[Message]:
    """Give a product the title asked for and the prices it lacks, or add it; remove nothing."""
    if not product.name:
        return create(asked, now)
    lacking = _lacking(product.name, product.prices, asked.prices, now)
    return retitle(product, asked.title) + [PriceOffered(name=product.name, price=price) for price in lacking]


def retitle(product: Product, title: str) -> list[Message]:
    """Change a product's title."""
    return [ProductUpdated(name=product.name, title=title)] if title != product.title else []


def offer(product: Product, amount: Money, now: datetime) -> list[Message]:
    """Put a product on offer at a further price, from now."""
    amount = checked_amount(amount, "amount")
    if _on_offer(product, amount):
        raise PriceOnOffer(name=product.name, amount=plain(amount))
    _limit(product.name, len(product.prices) + 1)
    return [PriceOffered(name=product.name, price=Price(amount=amount, start_time=timestamp(now)))]


def withdraw(product: Product, amount: Money, now: datetime) -> list[Message]:
    """End the offer of a product at a price."""
    amount = checked_amount(amount, "amount")
    price = _on_offer(product, amount)
    if price is None:
        raise PriceNotOnOffer(name=product.name, amount=plain(amount))
    withdrawn = Price(amount=amount, start_time=price.start_time, end_time=timestamp(now))
    return [PriceWithdrawn(name=product.name, price=withdrawn)]


def evolve(product: Product, event: Message) -> None:
    """Apply what happened."""
    match event:
        case ProductCreated():
            product.CopyFrom(event.product)
        case ProductUpdated():
            product.title = event.title
        case PriceOffered():
            position = bisect_right(product.prices, _latest_first(event.price), key=_latest_first)
            product.prices.insert(position, event.price)
        case PriceWithdrawn():
            price = _on_offer(product, event.price.amount)
            assert price is not None, "only what is on offer is withdrawn"
            price.end_time.CopyFrom(event.price.end_time)


def _on_offer(product: Product, amount: Money) -> Price | None:
    return next((each for each in product.prices if each.amount == amount and not each.HasField("end_time")), None)


def _lacking(name: str, known: Iterable[Price], asked: Iterable[Price], now: datetime) -> list[Price]:
    """Return those of the prices asked for that are not known, with their start."""
    prices, lacking = list(known), []
    for price in asked:
        if not any(_covers(each, price) for each in prices):
            lacking.append(_started(price, now))
            prices.append(lacking[-1])
    _limit(name, len(prices))
    return lacking


def _covers(known: Price, asked: Price) -> bool:
    """Whether a price asked for is known: the same amount at an overlapping time, at any time if none is asked for."""
    if known.amount != asked.amount:
        return False
    return not asked.HasField("start_time") or not (_ended(known, asked.start_time) or _ended(asked, known.start_time))


def _started(price: Price, now: datetime) -> Price:
    started = Price()
    started.CopyFrom(price)
    if not price.HasField("start_time"):
        started.start_time.CopyFrom(timestamp(now))
    return started


def _ended(price: Price, time: Timestamp) -> bool:
    return price.HasField("end_time") and _order(price.end_time) <= _order(time)


def _limit(name: str, count: int) -> None:
    if count > MOST_PRICES:
        raise TooManyPrices(name=name, most=MOST_PRICES)


def _latest_first(price: Price) -> tuple[int, int]:
    return (-price.start_time.seconds, -price.start_time.nanos)


def _order(time: Timestamp) -> tuple[int, int]:
    return (time.seconds, time.nanos)
