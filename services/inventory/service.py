"""The gRPC face of inventory."""

from __future__ import annotations

from typing import Any

import asyncpg
from mercato.inventory.v1 import inventory_pb2 as pb
from mercato.inventory.v1 import inventory_pb2_grpc

from chassis.clock import Clock
from chassis.database import UnexpectedRows
from chassis.repository import Repository
from services.inventory import domain
from services.inventory.stock import Stocks


class InventoryService(inventory_pb2_grpc.InventoryServiceServicer):
    """Serves mercato.inventory.v1.InventoryService."""

    def __init__(self, reservations: Repository[pb.Reservation], stocks: Stocks, clock: Clock) -> None:
        self._reservations = reservations
        self._stocks = stocks
        self._clock = clock

    async def GetStock(self, request: pb.GetStockRequest, context: Any) -> pb.GetStockResponse:
        return pb.GetStockResponse(stock=await self._stocks.get(request.name))

    async def ListStocks(self, request: pb.ListStocksRequest, context: Any) -> pb.ListStocksResponse:
        page = await self._stocks.page(request.page_size, request.page_token)
        return pb.ListStocksResponse(stocks=page.items, next_page_token=page.next_page_token)

    async def AdjustStock(self, request: pb.AdjustStockRequest, context: Any) -> pb.AdjustStockResponse:
        return await self._stocks.adjust(request.request_id, domain.adjust(request))

    async def ListMovements(self, request: pb.ListMovementsRequest, context: Any) -> pb.ListMovementsResponse:
        page = await self._stocks.movements(request.parent, request.page_size, request.page_token)
        return pb.ListMovementsResponse(movements=page.items, next_page_token=page.next_page_token)

    async def GetReservation(self, request: pb.GetReservationRequest, context: Any) -> pb.GetReservationResponse:
        return pb.GetReservationResponse(reservation=await self._reservations.get(request.name))

    async def ReserveStock(self, request: pb.ReserveStockRequest, context: Any) -> pb.ReserveStockResponse:
        events = domain.reserve(request, self._clock.now())
        try:
            return await self._reservations.create(
                f"reservations/{request.reservation_id}",
                events,
                lambda reservation: pb.ReserveStockResponse(reservation=reservation),
            )
        except (asyncpg.CheckViolationError, UnexpectedRows):
            raise await self._stocks.shortage(domain.added_up(request.lines)) from None

    async def CommitReservation(
        self, request: pb.CommitReservationRequest, context: Any
    ) -> pb.CommitReservationResponse:
        return await self._reservations.change(
            request.name,
            domain.commit,
            lambda reservation: pb.CommitReservationResponse(reservation=reservation),
        )

    async def ReleaseReservation(
        self, request: pb.ReleaseReservationRequest, context: Any
    ) -> pb.ReleaseReservationResponse:
        return await self._reservations.change(
            request.name,
            lambda reservation: domain.release(reservation, request.name),
            lambda reservation: pb.ReleaseReservationResponse(reservation=reservation),
            absent=True,
        )
