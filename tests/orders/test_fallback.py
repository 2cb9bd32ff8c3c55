"""Orders while the catalogue or shipping is away: what is sold, and what customers are told it costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from mercato.catalog.v1 import catalog_pb2 as catalog_pb
from mercato.shipping.v1 import shipping_pb2 as shipping_pb

from chassis.errors import FailedPrecondition, NotFound, Unavailable
from chassis.money import minor, money
from tests.chassis.probe import Probe, serving
from tests.shop import Shop, new_request_id
from tests.stage import Stage

SHIPPING = shipping_pb.DESCRIPTOR.services_by_name["ShippingService"]


class Partner:
    """A service that can be ended apart from all others."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name
        self._stack = AsyncExitStack()

    async def start(self, **settings: Any) -> None:
        own = Stage(self._stage.postgres_url, self._stage.nats_url, self._stack)
        await own.start(self._name, **settings)
        self._stage.targets[self._name] = own.targets[self._name]

    async def end(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def partners(stage: Stage) -> AsyncIterator[dict[str, Partner]]:
    started = {name: Partner(stage, name) for name in ("catalog", "shipping")}
    for partner in started.values():
        await partner.start()
    yield started
    for partner in started.values():
        await partner.end()


@pytest.fixture
async def shop(stage: Stage, partners: dict[str, Partner]) -> Shop:
    for name in ("customers", "inventory", "payments", "orders"):
        await stage.start(name)
    return Shop.on(stage)


async def test_what_was_sold_before_is_sold_from_a_copy_at_the_price_that_is_quoted(
    shop: Shop, partners: dict[str, Partner]
) -> None:
    customer, mug, unsold = await shop.new_customer(), await shop.new_product(10, 250), await shop.new_product(10, 99)
    await shop.final((await shop.place(shop.order_of(customer, (mug, 1)))).name)
    await partners["catalog"].end()

    placed = await shop.place(shop.order_of(customer, (mug, 2)))
    assert [minor(line.unit_price) for line in placed.lines] == [250]
    final = await shop.final(placed.name)
    assert (final.state, minor(final.total)) == (final.STATE_CONFIRMED, 500)
    assert minor((await shop.payment(placed.name)).captured) == 500

    with pytest.raises(Unavailable):  # of this one there is no copy
        await shop.place(shop.order_of(customer, (mug, 1), (unsold, 1)))
    agreed = shop.order_of(customer, (mug, 1))
    agreed.lines[0].unit_price.CopyFrom(money(240, "GBP"))
    with pytest.raises(Unavailable):  # a copy cannot tell that this is not the price of today
        await shop.place(agreed)


async def test_what_the_catalogue_refuses_is_refused_whatever_the_copy_says(shop: Shop) -> None:
    customer, mug = await shop.new_customer(), await shop.new_product(10, 250)
    await shop.place(shop.order_of(customer, (mug, 1)))
    await shop.catalog.WithdrawPrice(
        catalog_pb.WithdrawPriceRequest(request_id=new_request_id(), name=mug, amount=money(250, "GBP"))
    )
    with pytest.raises(FailedPrecondition):
        await shop.place(shop.order_of(customer, (mug, 1)))
    with pytest.raises(NotFound):
        await shop.place(shop.order_of(customer, (mug, 1), ("products/never", 1)))


async def test_carriage_is_quoted_at_the_least_it_costs_while_shipping_is_away(
    shop: Shop, partners: dict[str, Partner]
) -> None:
    customer, mug = await shop.new_customer(), await shop.new_product(10, 250)
    request = shop.order_of(customer, (mug, 1), region_code="AU")
    request.carriage_agreed = False
    await partners["shipping"].end()
    placed = await shop.place(request)
    assert (minor(placed.charges[0].unit_price), minor(placed.total)) == (495, 745)


async def test_nobody_waits_for_a_shipping_that_hangs(stage: Stage, shop: Shop) -> None:
    async def hang(request: Any, context: Any) -> None:
        await asyncio.sleep(60)

    hanging = Probe(SHIPPING)
    hanging.on("QuoteCarriage", hang)
    await stage.start("shipping", serving(hanging))
    await stage.start("orders")
    orders = Shop.on(stage)
    customer, mug = await orders.new_customer(), await orders.new_product(10, 250)
    request = orders.order_of(customer, (mug, 1))
    request.carriage_agreed = False
    placed = await orders.place(request)
    assert minor(placed.charges[0].unit_price) == 495
