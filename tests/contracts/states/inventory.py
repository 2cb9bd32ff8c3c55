"""States of inventory."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from mercato.inventory.v1 import inventory_pb2 as pb
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub

from tests.stage import Stage


def states(stage: Stage) -> dict[str, Any]:
    """Return what brings about each state."""
    service = stage.stub(pb.DESCRIPTOR.services_by_name["InventoryService"], InventoryServiceStub)

    async def stock(product: str, quantity: int) -> None:
        line = pb.StockLine(product=product, quantity=quantity)
        await service.AdjustStock(
            pb.AdjustStockRequest(request_id=str(uuid4()), reason=pb.REASON_OPENING, lines=[line])
        )

    async def reservation(id: str, product: str, quantity: int) -> None:  # noqa: A002
        await stock(product, quantity)
        line = pb.StockLine(product=product, quantity=quantity)
        await service.ReserveStock(pb.ReserveStockRequest(request_id=str(uuid4()), reservation_id=id, lines=[line]))

    async def released(id: str) -> None:  # noqa: A002
        await service.ReleaseReservation(
            pb.ReleaseReservationRequest(request_id=str(uuid4()), name=f"reservations/{id}")
        )

    return {"stock": stock, "reservation": reservation, "released reservation": released}
