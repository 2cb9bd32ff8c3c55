"""States of inventory."""

from __future__ import annotations

from typing import Any

from mercato.inventory.v1 import inventory_pb2 as pb

from tests.shop import Shop, new_request_id


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def stock(product: str, quantity: int) -> None:
        line = pb.StockLine(product=product, quantity=quantity)
        await shop.inventory.AdjustStock(
            pb.AdjustStockRequest(request_id=new_request_id(), reason=pb.REASON_OPENING, lines=[line])
        )

    async def reservation(id: str, product: str, quantity: int) -> None:  # noqa: A002
        await stock(product, quantity)
        line = pb.StockLine(product=product, quantity=quantity)
        await shop.inventory.ReserveStock(
            pb.ReserveStockRequest(request_id=new_request_id(), reservation_id=id, lines=[line])
        )

    async def released(id: str) -> None:  # noqa: A002
        await shop.inventory.ReleaseReservation(
            pb.ReleaseReservationRequest(request_id=new_request_id(), name=f"reservations/{id}")
        )

    return {"stock": stock, "reservation": reservation, "released reservation": released}
