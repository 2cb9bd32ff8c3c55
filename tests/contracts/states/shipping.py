"""States of shipping."""

from __future__ import annotations

from typing import Any

from google.type.postal_address_pb2 import PostalAddress
from mercato.shipping.v1 import shipping_pb2 as pb

from tests.shop import Shop, new_request_id


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""

    async def booked(id: str) -> None:  # noqa: A002
        address = PostalAddress(region_code="GB", address_lines=["1 High Street"])
        await shop.shipping.BookShipment(
            pb.BookShipmentRequest(
                request_id=new_request_id(), shipment_id=id, order=f"orders/{id}", pieces=3, address=address
            )
        )

    async def cancelled(id: str) -> None:  # noqa: A002
        await shop.shipping.CancelShipment(
            pb.CancelShipmentRequest(request_id=new_request_id(), name=f"shipments/{id}")
        )

    return {"booked shipment": booked, "cancelled shipment": cancelled}
