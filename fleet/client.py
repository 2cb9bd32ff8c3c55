"""The suite as a client sees it: one gRPC port, and calls that are tried again until the answer is definite."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from mercato.customers.v1 import customers_pb2, customers_pb2_grpc
from mercato.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.notifications.v1 import notifications_pb2, notifications_pb2_grpc
from mercato.orders.v1 import orders_pb2, orders_pb2_grpc
from mercato.payments.v1 import payments_pb2, payments_pb2_grpc
from mercato.shipping.v1 import shipping_pb2, shipping_pb2_grpc

from chassis.call import Call, serving
from chassis.channels import Channel
from chassis.errors import MercatoError
from chassis.telemetry.trace import Trace

CALLER = "replay"
CURRENCY = "GBP"
PATIENCE_S = 60.0
"""How long a call is tried again before it is given up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.05, 2.0
ORDERS_PAGE_SIZE = 200
"""Orders are large: a page of the largest must fit into one message."""

_OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]

Stub = TypeVar("Stub")


class GaveUpError(Exception):
    """No definite answer came, however often it was asked for."""


class Shop:
    """A stub of each service, on the channel that leads to it."""

    def __init__(self, channel: Callable[[ServiceDescriptor], grpc.aio.Channel]) -> None:
        def stub(module: Any, name: str, make: Callable[[Any], Stub]) -> Stub:
            service = module.DESCRIPTOR.services_by_name[name]
            return make(Channel(channel(service), [service], CALLER))

        self.catalog = stub(catalog_pb2, "CatalogService", catalog_pb2_grpc.CatalogServiceStub)
        self.customers = stub(customers_pb2, "CustomerService", customers_pb2_grpc.CustomerServiceStub)
        self.inventory = stub(inventory_pb2, "InventoryService", inventory_pb2_grpc.InventoryServiceStub)
        self.orders = stub(orders_pb2, "OrderService", orders_pb2_grpc.OrderServiceStub)
        self.payments = stub(payments_pb2, "PaymentService", payments_pb2_grpc.PaymentServiceStub)
        self.shipping = stub(shipping_pb2, "ShippingService", shipping_pb2_grpc.ShippingServiceStub)
        self.notifications = stub(
            notifications_pb2, "NotificationService", notifications_pb2_grpc.NotificationServiceStub
        )


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Shop]:
    """Open the suite at the `host:port` of its gateway's gRPC."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield Shop(lambda _: channel)


@contextmanager
def unseen() -> Iterator[None]:
    """Make calls within the block that nobody records: who looks is no part of what is looked at."""
    with serving(Call(method="", caller=CALLER, deadline=None, trace=Trace.start())):
        yield


async def call(method: Callable[..., Any], request: Any) -> Any:
    """Call until the answer is definite, with the same request each time; a list of requests is sent as a stream.

    A definite no is raised as its MercatoError, and no definite answer within PATIENCE_S as GaveUpError.
    """
    give_up = time.monotonic() + PATIENCE_S
    pause_s = FIRST_PAUSE_S
    while True:
        try:
            return await method(iter(request) if isinstance(request, list) else request)
        except MercatoError as error:
            if error.definite:
                raise
            if time.monotonic() > give_up:
                raise GaveUpError(f"{error.reason} for {PATIENCE_S:.0f} s: {error.message}") from error
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def pages(method: Callable[..., Any], request: Any) -> list[Any]:
    """Read all pages of a list method."""
    found: list[Any] = []
    while True:
        response = await call(method, request)
        (field,) = (field.name for field in response.DESCRIPTOR.fields if field.name != "next_page_token")
        found.extend(getattr(response, field))
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token
