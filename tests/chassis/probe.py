"""Servicers that do what a test tells them, behind the chassis' real server and wire."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from mercato.catalog.v1 import catalog_pb2
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1 import customers_pb2
from mercato.orders.v1 import orders_pb2

from chassis.app import App, Compose
from chassis.clock import SystemClock
from chassis.server import Server
from chassis.settings import Settings
from tests.stage import Stage

CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"]
CUSTOMERS = customers_pb2.DESCRIPTOR.services_by_name["CustomerService"]
ORDERS = orders_pb2.DESCRIPTOR.services_by_name["OrderService"]


class Probe:
    """A servicer of any service; its methods do what was last said with `on`."""

    def __init__(self, service: ServiceDescriptor) -> None:
        self.service = service
        self._behaviors: dict[str, Callable[[Any, Any], Any]] = {}

    def on(self, method: str, behavior: Callable[[Any, Any], Any]) -> None:
        """Say what a method does."""
        self._behaviors[method] = behavior

    def __getattr__(self, method: str) -> Callable[[Any, Any], Any]:
        return lambda request, context: self._behaviors[method](request, context)


def serving(*probes: Probe) -> Compose:
    """Return what composes a service of probes alone."""

    async def compose(app: App) -> None:
        for probe in probes:
            app.serve(probe.service, probe)

    return compose


async def catalog(stage: Stage, **settings: Any) -> tuple[Probe, CatalogServiceStub]:
    """Start a catalog of probes; returns it with a stub of it."""
    probe = Probe(CATALOG)
    await stage.start("catalog", serving(probe), **settings)
    return probe, stage.stub(CATALOG, CatalogServiceStub)


@asynccontextmanager
async def alone(**settings: Any) -> AsyncIterator[tuple[Probe, Server, grpc.aio.Channel]]:
    """Serve a catalog of probes with nothing behind it within the block; yields a plain channel to it too."""
    told: dict[str, Any] = {"port": 0, "drain_s": 0.0, "grace_s": 1.0, **settings}
    probe, server = Probe(CATALOG), Server(Settings("catalog", "catalog/1", **told), SystemClock())
    await server.add(CATALOG, probe)
    async with server, grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield probe, server, channel
