"""Two servers of one method that answers what it was asked: a bare one, and one through the whole chassis.

Started as a process by benchmarks, with `bare`, `chassis` or `relay` and the port. A relay is a chassis that asks the
one at `MERCATO_TARGETS` for its answers.
"""

from __future__ import annotations

import os
import sys
from typing import Any, cast

import grpc
import uvloop
from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc

from chassis.app import App, run

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


class Relay(Echo):
    """The same, with the answers of another."""

    def __init__(self, catalog: catalog_pb2_grpc.CatalogServiceStub) -> None:
        self._catalog = catalog

    async def GetProduct(  # noqa: N802
        self, request: catalog_pb2.GetProductRequest, context: Any
    ) -> catalog_pb2.GetProductResponse:
        """Answer as the other does."""
        response: catalog_pb2.GetProductResponse = await self._catalog.GetProduct(request)
        return response


async def _echo(app: App) -> None:
    app.serve(CATALOG, Echo())


async def _relay(app: App) -> None:
    app.serve(CATALOG, Relay(app.client(CATALOG, catalog_pb2_grpc.CatalogServiceStub)))


def as_in_fleet() -> None:
    """Schedule this process as the fleet schedules its services."""
    if hasattr(os, "SCHED_BATCH"):
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def main() -> None:
    """Serve until ended."""
    as_in_fleet()
    kind, port = sys.argv[1:]
    if kind == "bare":
        uvloop.run(_bare(int(port)))
        return
    os.environ["MERCATO_PORT"] = port
    run("echo", {"chassis": _echo, "relay": _relay}[kind])


if __name__ == "__main__":
    main()
