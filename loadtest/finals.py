"""Waits for orders to become final, asking for all of them at once instead of following each."""

from __future__ import annotations

import asyncio

from mercato.orders.v1 import orders_pb2 as orders

from fleet.client import GaveUpError, Shop, call

FINAL_TIMEOUT_S = 180.0
"""How long an order or return may take to become final, with services dying meanwhile."""
POLL_S = 0.1
_ASKED_AT_ONCE = 100
_FINAL = {orders.Order.STATE_CONFIRMED, orders.Order.STATE_REFUSED, orders.Order.STATE_CANCELLED}


class Finals:
    """The orders that are waited for."""

    def __init__(self, shop: Shop, every_s: float = POLL_S) -> None:
        self._shop = shop
        self._every_s = every_s
        self._waiting: dict[str, asyncio.Future[orders.Order]] = {}

    async def wait(self, name: str) -> orders.Order:
        """Return an order once it is final, while `poll` runs. Raises GaveUpError when it takes too long."""
        future = self._waiting.setdefault(name, asyncio.get_running_loop().create_future())
        try:
            async with asyncio.timeout(FINAL_TIMEOUT_S):
                return await future
        except TimeoutError:
            raise GaveUpError(f"{name} is not final after {FINAL_TIMEOUT_S:.0f} s") from None

    async def poll(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            names = list(self._waiting)
            for start in range(0, len(names), _ASKED_AT_ONCE):
                request = orders.BatchGetOrdersRequest(names=names[start : start + _ASKED_AT_ONCE])
                for order in (await call(self._shop.orders.BatchGetOrders, request)).orders:
                    if order.state in _FINAL:
                        self._waiting.pop(order.name).set_result(order)
