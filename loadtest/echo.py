"""Two servers of one method that answers what it was asked: a bare one, and one through the whole chassis.

Started as a process by the benchmark, with `bare` or `chassis` and the port.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any, cast

import grpc
import uvloop
from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc

from chassis.clock import SystemClock
from chassis.server import Server
from chassis.settings import Settings
from chassis.telemetry.logs import configure_logs

CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
PRODUCT = catalog_pb2.Product(name="products/85123A", title="WHITE HANGING HEART T-LIGHT HOLDER " * 5, etag="1" * 60)


class Echo:
    """The catalogue, with GetProduct alone and without a database."""

    async def _unused(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    ListProducts = SearchProducts = CreateProduct = UpdateProduct = _unused
    BatchGetProducts = OfferPrice = WithdrawPrice = ImportProducts = _unused

    async def GetProduct(  # noqa: N802
        self, request: catalog_pb2.GetProductRequest, context: Any
    ) -> catalog_pb2.GetProductResponse:
        """Answer with a product of that name."""
        response = catalog_pb2.GetProductResponse(product=PRODUCT)
        response.product.name = request.name
        return response


async def _bare(port: int) -> None:
    server = grpc.aio.server()
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(cast(catalog_pb2_grpc.CatalogServiceServicer, Echo()), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def _chassis(port: int) -> None:
    settings = Settings("echo", "echo/1", port=port)
    configure_logs(settings)
    server = Server(settings, SystemClock())
    await server.add(CATALOG, Echo())
    async with server:
        await asyncio.Event().wait()


def as_in_fleet() -> None:
    """Schedule this process as the fleet schedules its services."""
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> None:
    """Serve until ended."""
    as_in_fleet()
    uvloop.run({"bare": _bare, "chassis": _chassis}[sys.argv[1]](int(sys.argv[2])))


if __name__ == "__main__":
    main()
