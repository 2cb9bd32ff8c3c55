"""The gRPC face of shipping."""

from __future__ import annotations

from typing import Any

from mercato.shipping.v1 import shipping_pb2 as pb
from mercato.shipping.v1 import shipping_pb2_grpc

from chassis.clock import Clock
from chassis.errors import AlreadyExists
from chassis.repository import Repository
from services.shipping import domain, tariff


class ShippingService(shipping_pb2_grpc.ShippingServiceServicer):
    """Serves mercato.shipping.v1.ShippingService."""

    def __init__(self, shipments: Repository[pb.Shipment], clock: Clock) -> None:
        self._shipments = shipments
        self._clock = clock

    async def QuoteCarriage(self, request: pb.QuoteCarriageRequest, context: Any) -> pb.QuoteCarriageResponse:
        return pb.QuoteCarriageResponse(price=tariff.quote(request.region_code, request.pieces, request.currency_code))

    async def BookShipment(self, request: pb.BookShipmentRequest, context: Any) -> pb.BookShipmentResponse:
        name = f"shipments/{request.shipment_id}"
        events = domain.book(name, request.order, request.pieces, request.address, self._clock.now())
        try:
            return await self._shipments.create(
                name, events, lambda shipment: pb.BookShipmentResponse(shipment=shipment)
            )
        except AlreadyExists:
            domain.refuse_late_booking(await self._shipments.get(name))
            raise

    async def CancelShipment(self, request: pb.CancelShipmentRequest, context: Any) -> pb.CancelShipmentResponse:
        return await self._shipments.change(
            request.name,
            lambda shipment: domain.cancel(shipment, request.name),
            lambda shipment: pb.CancelShipmentResponse(shipment=shipment),
            absent=True,
        )

    async def TrackShipment(self, request: pb.TrackShipmentRequest, context: Any) -> pb.TrackShipmentResponse:
        return await self._shipments.change(
            request.name,
            lambda shipment: domain.track(shipment, request.state, request.description, self._clock.now()),
            lambda shipment: pb.TrackShipmentResponse(shipment=shipment),
        )

    async def GetShipment(self, request: pb.GetShipmentRequest, context: Any) -> pb.GetShipmentResponse:
        return pb.GetShipmentResponse(shipment=await self._shipments.get(request.name))

    async def ListShipments(self, request: pb.ListShipmentsRequest, context: Any) -> pb.ListShipmentsResponse:
        page = await self._shipments.page(request.page_size, request.page_token)
        return pb.ListShipmentsResponse(shipments=page.items, next_page_token=page.next_page_token)
