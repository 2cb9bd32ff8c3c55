"""States of orders: orders are placed, and what belongs to them really happens in all services."""

from __future__ import annotations

from typing import Any

from mercato.orders.v1 import orders_pb2 as pb

from chassis.money import money
from tests.contracts.clock import NamingClock
from tests.contracts.states import catalog, customers
from tests.shop import Shop, new_request_id
from tests.stage import eventually

REFERENCE = "web-1"


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""
    clock = shop.stage.clock
    assert isinstance(clock, NamingClock)

    async def placed(id: str, card_token: str = "tok_slow") -> pb.Order:  # noqa: A002
        request = shop.order_of(await shop.new_customer(), (await shop.new_product(), 3), card_token=card_token)
        request.reference = REFERENCE
        clock.next_id = id
        return await shop.place(request)

    async def confirmed(id: str) -> None:  # noqa: A002
        await shop.final((await placed(id, "tok_ok")).name)

    async def refused(id: str) -> None:  # noqa: A002
        await shop.final((await placed(id, "tok_decline")).name)

    async def cancelled(id: str) -> None:  # noqa: A002
        await confirmed(id)
        await shop.orders.CancelOrder(pb.CancelOrderRequest(request_id=new_request_id(), name=f"orders/{id}"))
        await shop.final(f"orders/{id}")

    async def returned(id: str, order: str) -> None:  # noqa: A002
        await confirmed(order)
        bought = (await shop.orders.GetOrder(pb.GetOrderRequest(name=f"orders/{order}"))).order
        line = pb.ReturnLine(product=bought.lines[0].product, quantity=1, unit_price=money(250, "GBP"))
        clock.next_id = id
        await shop.orders.CreateReturn(
            pb.CreateReturnRequest(
                request_id=new_request_id(), order=bought.name, customer=bought.customer, lines=[line]
            )
        )

        async def completed() -> bool:
            found = (await shop.orders.GetReturn(pb.GetReturnRequest(name=f"returns/{id}"))).returned
            return found.state == pb.Return.STATE_COMPLETED

        await eventually(completed)

    return {
        "customer": customers.states(shop)["customer"],
        "product": catalog.states(shop)["product"],
        "placed order": placed,
        "confirmed order": confirmed,
        "refused order": refused,
        "cancelled order": cancelled,
        "completed return": returned,
    }
