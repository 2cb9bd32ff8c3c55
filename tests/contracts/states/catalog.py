"""States of the catalog."""

from __future__ import annotations

from typing import Any

from mercato.catalog.v1 import catalog_pb2 as pb

from chassis.money import money
from tests.shop import Shop, new_request_id


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def product(name: str, price_minor: int) -> None:
        made = pb.Product(name=name, title="Mug", prices=[pb.Price(amount=money(price_minor, "GBP"))])
        await shop.catalog.CreateProduct(pb.CreateProductRequest(request_id=new_request_id(), product=made))

    async def withdrawn(name: str, price_minor: int) -> None:
        amount = money(price_minor, "GBP")
        await shop.catalog.WithdrawPrice(pb.WithdrawPriceRequest(request_id=new_request_id(), name=name, amount=amount))

    async def offered(name: str, price_minor: int) -> None:
        amount = money(price_minor, "GBP")
        await shop.catalog.OfferPrice(pb.OfferPriceRequest(request_id=new_request_id(), name=name, amount=amount))

    return {"product": product, "withdrawn price": withdrawn, "further price": offered}
