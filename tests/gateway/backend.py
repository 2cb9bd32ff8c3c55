"""Small real services behind the gateway in tests: through the whole chassis, and one that echoes bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from mercato.catalog.v1 import catalog_pb2
from mercato.orders.v1 import orders_pb2

from chassis.errors import FailedPrecondition, NotFound, ResourceExhausted


class OutOfStock(FailedPrecondition):
    """{product} is out of stock."""


@dataclass
class Seen:
    """What the services saw of the calls that reached them."""

    metadata: dict[str, str | bytes] = field(default_factory=dict)
    left_s: float | None = None
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0
    """Large answers of a stream."""

    def note(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self.metadata = dict(context.invocation_metadata() or ())
        self.left_s = context.time_remaining()

    async def wait_for_cancel(self) -> None:
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


class Servicer:
    """Methods that are not overridden refuse everything."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def __getattr__(self, name: str) -> Any:
        async def refuse(request: Any, context: Any) -> Any:
            raise FailedPrecondition

        return refuse


class Orders(Servicer):
    async def GetOrder(self, request: orders_pb2.GetOrderRequest, context: Any) -> orders_pb2.GetOrderResponse:
        self.seen.note(context)
        match request.name:
            case "orders/missing":
                raise NotFound(name=request.name)
            case "orders/defect":
                raise RuntimeError("secret")
            case "orders/slow":
                await self.seen.wait_for_cancel()
            case "orders/full":
                raise ResourceExhausted(retry_after_s=12.4)  # longer than the gateway waits itself
            case "orders/short":
                raise OutOfStock(product="products/1")
        await context.send_initial_metadata((("x-served-by", "orders/1"),))
        context.set_trailing_metadata((("x-cost", "7"),))
        state = orders_pb2.Order.STATE_CONFIRMED
        return orders_pb2.GetOrderResponse(order=orders_pb2.Order(name=request.name, state=state))

    async def ListOrders(self, request: orders_pb2.ListOrdersRequest, context: Any) -> orders_pb2.ListOrdersResponse:
        order = orders_pb2.Order(customer=request.customer, state=request.state)
        return orders_pb2.ListOrdersResponse(orders=[order] * request.page_size, next_page_token=request.page_token)

    async def PlaceOrder(self, request: orders_pb2.PlaceOrderRequest, context: Any) -> orders_pb2.PlaceOrderResponse:
        lines = [orders_pb2.OrderLine(product=line.product, quantity=line.quantity) for line in request.lines]
        order = orders_pb2.Order(name=f"orders/{request.request_id}", customer=request.customer, lines=lines)
        return orders_pb2.PlaceOrderResponse(order=order)

    async def CancelOrder(self, request: orders_pb2.CancelOrderRequest, context: Any) -> orders_pb2.CancelOrderResponse:
        order = orders_pb2.Order(name=request.name, reference=request.reference)
        return orders_pb2.CancelOrderResponse(order=order)

    async def WatchOrder(
        self, request: orders_pb2.WatchOrderRequest, context: Any
    ) -> AsyncIterator[orders_pb2.WatchOrderResponse]:
        self.seen.note(context)
        if request.name == "orders/missing":
            raise NotFound(name=request.name)
        for state in (orders_pb2.Order.STATE_PLACED, orders_pb2.Order.STATE_CONFIRMED):
            yield orders_pb2.WatchOrderResponse(order=orders_pb2.Order(name=request.name, state=state))
        if request.name == "orders/endless":
            await self.seen.wait_for_cancel()
        while request.name == "orders/large":
            self.seen.written += 1
            yield orders_pb2.WatchOrderResponse(order=orders_pb2.Order(etag="x" * 500_000))
        if request.name == "orders/breaks":
            raise OutOfStock(product="products/1")


class Catalog(Servicer):
    async def GetProduct(self, request: catalog_pb2.GetProductRequest, context: Any) -> catalog_pb2.GetProductResponse:
        return catalog_pb2.GetProductResponse(product=catalog_pb2.Product(name=request.name))

    async def BatchGetProducts(
        self, request: catalog_pb2.BatchGetProductsRequest, context: Any
    ) -> catalog_pb2.BatchGetProductsResponse:
        products = [catalog_pb2.Product(name=name) for name in request.names]
        return catalog_pb2.BatchGetProductsResponse(products=products)

    async def UpdateProduct(
        self, request: catalog_pb2.UpdateProductRequest, context: Any
    ) -> catalog_pb2.UpdateProductResponse:
        product = catalog_pb2.Product(name=request.product.name, etag=",".join(request.update_mask.paths))
        return catalog_pb2.UpdateProductResponse(product=product)

    async def ImportProducts(
        self, requests: AsyncIterator[catalog_pb2.ImportProductsRequest], context: Any
    ) -> catalog_pb2.ImportProductsResponse:
        self.seen.note(context)
        count = 0
        async for request in requests:
            count += 1
            if request.product.name == "products/stop":
                raise OutOfStock(product=request.product.name)
            if request.product.name == "products/wait":
                await self.seen.wait_for_cancel()
        return catalog_pb2.ImportProductsResponse(created_count=count)


class Echo(grpc.GenericRpcHandler):
    """Answers any method of the lab with its request, whatever it is."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if not handler_call_details.method.startswith("/mercato.lab.v1."):
            return None
        if handler_call_details.method.endswith("/Talk"):
            return grpc.stream_stream_rpc_method_handler(self._talk)
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, request: bytes, context: Any) -> bytes:
        return request

    async def _talk(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
