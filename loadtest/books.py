"""What the services hold of one replay, read back from them and from nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from mercato.inventory.v1 import inventory_pb2
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2

from fleet.client import ORDERS_PAGE_SIZE, Shop, pages
from loadtest.plan import Identity, Plan
from loadtest.trade import Role

_READ_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that carries the mark of the replay."""

    orders: tuple[orders_pb2.Order, ...]
    returns: tuple[orders_pb2.Return, ...]
    payments: tuple[payments_pb2.Payment, ...]
    credits: tuple[payments_pb2.Credit, ...]
    """Those it asked for, and those its returns led to."""
    fees: tuple[payments_pb2.Fee, ...]
    movements: tuple[inventory_pb2.Movement, ...]
    """Write-offs and corrections."""


async def read_books(shop: Shop, plan: Plan) -> Books:
    """Read all of a replay back."""
    identity = plan.identity
    all_orders, all_returns, all_payments, all_credits, all_fees, movements = await asyncio.gather(
        pages(shop.orders.ListOrders, orders_pb2.ListOrdersRequest(page_size=ORDERS_PAGE_SIZE)),
        pages(shop.orders.ListReturns, orders_pb2.ListReturnsRequest(page_size=1000)),
        pages(shop.payments.ListPayments, payments_pb2.ListPaymentsRequest(page_size=1000)),
        pages(shop.payments.ListCredits, payments_pb2.ListCreditsRequest(page_size=1000)),
        pages(shop.payments.ListFees, payments_pb2.ListFeesRequest(page_size=1000)),
        _movements(shop, plan),
    )
    ours = tuple(order for order in all_orders if identity.label(order.reference))
    returns = tuple(back for back in all_returns if identity.label(back.reference))
    order_names = {order.name for order in ours}
    return_names = {back.name for back in returns}
    return Books(
        ours,
        returns,
        tuple(payment for payment in all_payments if payment.order in order_names),
        tuple(c for c in all_credits if identity.label(c.reference) or c.reference in return_names),
        tuple(fee for fee in all_fees if identity.label(fee.reference)),
        tuple(movement for movement in movements if _is_adjustment(movement, identity)),
    )


async def _movements(shop: Shop, plan: Plan) -> list[inventory_pb2.Movement]:
    """Read the movements of the products whose stock was put right."""
    articles = {
        item.article for step in (*plan.early, *plan.steps) for item in step.items if item.role is Role.ADJUSTMENT
    }
    slots = asyncio.Semaphore(_READ_AT_ONCE)

    async def of(article: str) -> Iterable[inventory_pb2.Movement]:
        async with slots:
            request = inventory_pb2.ListMovementsRequest(parent=f"stocks/{article}", page_size=1000)
            return await pages(shop.inventory.ListMovements, request)

    found = await asyncio.gather(*map(of, sorted(articles)))
    return [movement for movements in found for movement in movements]


def _is_adjustment(movement: inventory_pb2.Movement, identity: Identity) -> bool:
    return movement.reason != inventory_pb2.REASON_OPENING and identity.label(movement.reference) is not None
