"""What can happen to a product and its prices, without I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money
from mercato.catalog.v1.catalog_pb2 import Price, PriceOffered, Product, ProductUpdated

from chassis.clock import timestamp
from chassis.errors import InvalidArgument
from chassis.money import money
from services.catalog import domain

NOW = datetime(2010, 12, 10, tzinfo=UTC)
NAME = "products/85123A"


def day(number: int) -> datetime:
    return datetime(2010, 12, number, tzinfo=UTC)


def price(amount_minor: int, start: int = 0, end: int = 0) -> Price:
    return Price(
        amount=money(amount_minor, "GBP"),
        start_time=timestamp(day(start)) if start else None,
        end_time=timestamp(day(end)) if end else None,
    )


def asked(*prices: Price, title: str = "Heart") -> Product:
    return domain.checked(Product(name=NAME, title=title, prices=prices), NOW)


def evolved(product: Product, events: Sequence[Message]) -> Product:
    for event in events:
        domain.evolve(product, event)
    return product


def product(*prices: Price) -> Product:
    return evolved(Product(), domain.create(asked(*prices), NOW))


def offered(of: Product) -> list[tuple[int, int, int]]:
    """Amount, day of start and day of end of all prices."""
    days = [
        (each.amount.units * 100 + each.amount.nanos // 10**7, each.start_time, each.end_time) for each in of.prices
    ]
    return [(amount, start.ToDatetime().day, end.ToDatetime().day if end.seconds else 0) for amount, start, end in days]


def test_a_product_begins_with_its_prices_latest_start_first() -> None:
    assert offered(product(price(255), price(295, 1, 3), price(275, 5), price(265))) == [
        (255, 10, 0),
        (265, 10, 0),
        (275, 5, 0),
        (295, 1, 3),
    ]


def test_what_is_output_only_cannot_be_brought_along() -> None:
    created = evolved(Product(), domain.create(domain.checked(Product(name=NAME, title="Heart", etag="7"), NOW), NOW))
    assert not created.etag
    assert created.create_time.ToDatetime(UTC) == NOW


def test_a_price_is_offered_beside_others_withdrawn_and_offered_again() -> None:
    heart = product(price(255, 1))
    evolved(heart, domain.offer(heart, money(295, "GBP"), day(5)))
    evolved(heart, domain.withdraw(heart, money(255, "GBP"), day(6)))
    evolved(heart, domain.offer(heart, money(255, "GBP"), day(7)))
    assert offered(heart) == [(255, 7, 0), (295, 5, 0), (255, 1, 6)]


def test_a_price_on_offer_is_not_offered_again() -> None:
    with pytest.raises(domain.PriceOnOffer, match=r"products/85123A is on offer at 2\.55 GBP already"):
        domain.offer(product(price(255)), money(255, "GBP"), NOW)


@pytest.mark.parametrize("prices", [[], [price(295)], [price(255, 1, 3)]])
def test_only_a_price_on_offer_is_withdrawn(prices: list[Price]) -> None:
    with pytest.raises(domain.PriceNotOnOffer, match=r"products/85123A is not on offer at 2\.55 GBP"):
        domain.withdraw(product(*prices), money(255, "GBP"), NOW)


def test_a_price_in_another_currency_is_another_price() -> None:
    heart = product(price(255))
    evolved(heart, domain.offer(heart, money(255, "EUR"), NOW))
    assert len(heart.prices) == 2


def test_bringing_in_again_changes_nothing() -> None:
    prices = [price(255), price(295, 1, 3), price(275, 5), price(275, 1, 2)]
    heart = product(*prices)
    assert len(heart.prices) == 4
    assert domain.bring_in(heart, asked(*prices), NOW + timedelta(days=1)) == []
    evolved(heart, domain.withdraw(heart, money(255, "GBP"), NOW + timedelta(days=1)))
    assert domain.bring_in(heart, asked(*prices), NOW + timedelta(days=2)) == []


def test_bringing_in_adds_what_is_lacking_and_removes_nothing() -> None:
    heart = product(price(255, 2, 4), price(295))
    events = domain.bring_in(heart, asked(price(255, 4, 6), price(255, 3, 5), price(199), title="Red heart"), NOW)
    assert [type(event) for event in events] == [ProductUpdated, PriceOffered, PriceOffered]
    evolved(heart, events)
    assert heart.title == "Red heart"
    assert offered(heart) == [(295, 10, 0), (199, 10, 0), (255, 4, 6), (255, 2, 4)]


def test_prices_sent_twice_are_one() -> None:
    assert offered(product(price(255), price(255), price(255, 9))) == [(255, 10, 0)]


def test_bringing_in_again_decides_the_same_when_it_is_decided_twice() -> None:
    heart, wish = product(), asked(price(255))
    assert domain.bring_in(heart, wish, NOW) == domain.bring_in(heart, wish, NOW)


def test_history_has_a_limit() -> None:
    heart = product(*(price(amount) for amount in range(1000)))
    with pytest.raises(domain.TooManyPrices, match="products/85123A cannot have more than 1000 prices"):
        domain.offer(heart, money(1000, "GBP"), NOW)
    with pytest.raises(domain.TooManyPrices):
        domain.bring_in(heart, asked(price(1000)), NOW)
    assert domain.bring_in(heart, asked(price(999)), NOW) == []


@pytest.mark.parametrize(
    ("amount", "field"),
    [
        (Money(currency_code="GBP", units=-1), "units"),
        (Money(currency_code="GBP", nanos=-10_000_000), "units"),
        (Money(currency_code="GBP", units=1, nanos=1), "nanos"),
        (Money(currency_code="pounds", units=1), "currency_code"),
        (Money(currency_code="GBP", units=10**14), "units"),
    ],
)
def test_a_bad_amount_is_refused_by_field(amount: Money, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        domain.offer(product(), amount, NOW)
    assert list(refused.value.fields) == [f"amount.{field}"]
    with pytest.raises(InvalidArgument) as refused:
        asked(price(1), Price(amount=amount))
    assert list(refused.value.fields) == [f"product.prices[1].amount.{field}"]


@pytest.mark.parametrize(
    ("start", "end", "field"),
    [
        (Timestamp(nanos=-1), None, "start_time"),
        (Timestamp(nanos=10**9), None, "start_time"),
        (Timestamp(seconds=2**62), None, "start_time"),
        (timestamp(NOW + timedelta(seconds=1)), None, "start_time"),
        (timestamp(day(1)), timestamp(NOW + timedelta(seconds=1)), "end_time"),
        (timestamp(day(1)), timestamp(day(1)), "end_time"),
        (timestamp(day(2)), timestamp(day(1)), "end_time"),
        (None, timestamp(day(1)), "end_time"),
    ],
)
def test_a_bad_time_is_refused_by_field(start: Timestamp | None, end: Timestamp | None, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        asked(Price(amount=money(1, "GBP"), start_time=start, end_time=end))
    assert list(refused.value.fields) == [f"product.prices[0].{field}"]
