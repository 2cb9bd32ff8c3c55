"""The gRPC face of orders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from google.type.money_pb2 import Money
from mercato.catalog.v1.catalog_pb2 import BatchGetProductsRequest, Product
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.customers.v1.customers_pb2 import GetCustomerRequest
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub
from mercato.orders.v1 import orders_pb2 as pb
from mercato.orders.v1 import orders_pb2_grpc
from mercato.shipping.v1.shipping_pb2 import QuoteCarriageRequest
from mercato.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

from chassis.clock import Clock
from chassis.database import Batch
from chassis.repository import Repository, Versioned
from chassis.resilience.fallback import Fallback, LastGood
from chassis.saga import Refusal
from chassis.sagas import Sagas
from services.orders import checkout, domain, returning
from services.orders.watch import OrderWatch

PARTNER_TIMEOUT_S = 0.8
"""So long catalog and shipping are waited for, each: there is time left then to do without them."""
MOST_PRODUCTS, OLDEST_PRODUCT_S = 10_000, 900.0
"""The copy of the catalogue that is sold from while the catalogue cannot be reached."""

CANCELLED = Refusal(step="", reason="CANCELLED", message="The order was cancelled.")


class OrderService(orders_pb2_grpc.OrderServiceServicer):
    """Serves mercato.orders.v1.OrderService."""

    def __init__(
        self,
        orders: Repository[pb.Order],
        returns: Repository[pb.Return],
        sagas: Sagas,
        watch: OrderWatch,
        catalog: CatalogServiceStub,
        customers: CustomerServiceStub,
        shipping: ShippingServiceStub,
        clock: Clock,
    ) -> None:
        self._orders = orders
        self._returns = returns
        self._sagas = sagas
        self._watch = watch
        self._catalog = catalog
        self._customers = customers
        self._shipping = shipping
        self._clock = clock
        self._copies: LastGood[str, Product] = LastGood(MOST_PRODUCTS, OLDEST_PRODUCT_S, clock.monotonic)
        self._copied_products = Fallback("copied products")
        self._default_carriage = Fallback("default carriage")

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        domain.require_something(request.lines, request.charges)
        email, products = await asyncio.gather(self._email(request.customer), self._products(request))
        carriage = await self._carriage(request, products)
        name = f"orders/{self._clock.new_id()}"
        begun = Batch()
        carry_on = self._sagas.begin(begun, checkout.KIND, name)
        response = await self._orders.create(
            name,
            domain.place(request, name, email, products, carriage, self._clock.now()),
            lambda order: pb.PlaceOrderResponse(order=order),
            also=begun,
        )
        carry_on(response.order)
        return response

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        return pb.GetOrderResponse(order=await self._orders.get(request.name))

    async def BatchGetOrders(self, request: pb.BatchGetOrdersRequest, context: Any) -> pb.BatchGetOrdersResponse:
        return pb.BatchGetOrdersResponse(orders=await self._orders.batch_get(request.names))

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        filters: dict[str, object] = {}
        if request.customer:
            filters["customer"] = request.customer
        if request.state:
            filters["status"] = request.state
        newest_first = request.order_by == "name desc"
        page = await self._orders.page(request.page_size, request.page_token, descending=newest_first, **filters)
        return pb.ListOrdersResponse(orders=page.items, next_page_token=page.next_page_token)

    async def WatchOrder(self, request: pb.WatchOrderRequest, context: Any) -> AsyncIterator[pb.WatchOrderResponse]:
        async for order in self._watch.follow(request.name):
            yield pb.WatchOrderResponse(order=order)

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        now, unwound = self._clock.now(), Batch()
        turn_round = self._sagas.unwind(unwound, checkout.KIND, request.name, CANCELLED)
        response = await self._orders.change(
            request.name,
            lambda order: domain.cancel(order, request, now),
            lambda order: pb.CancelOrderResponse(order=order),
            also=unwound,
        )
        turn_round()
        return response

    async def CreateReturn(self, request: pb.CreateReturnRequest, context: Any) -> pb.CreateReturnResponse:
        domain.require_something(request.lines, request.charges)
        name, email = f"returns/{self._clock.new_id()}", await self._email(request.customer)
        requested = domain.request_return(request, name, email, self._clock.now())
        batch = Batch()
        returned = self._returns.save(batch, name, Versioned(pb.Return(), 0), [requested])
        carry_on = self._sagas.begin(batch, returning.KIND, name)
        response = pb.CreateReturnResponse(returned=returned)
        if request.order:
            await self._orders.change(
                request.order, lambda order: domain.return_items(order, returned), lambda _: response, also=batch
            )
        else:
            await self._returns.commit(batch, response)
        carry_on(returned)
        return response

    async def GetReturn(self, request: pb.GetReturnRequest, context: Any) -> pb.GetReturnResponse:
        return pb.GetReturnResponse(returned=await self._returns.get(request.name))

    async def ListReturns(self, request: pb.ListReturnsRequest, context: Any) -> pb.ListReturnsResponse:
        filters: dict[str, Any] = {"purchase": request.order} if request.order else {}
        page = await self._returns.page(request.page_size, request.page_token, **filters)
        return pb.ListReturnsResponse(returns=page.items, next_page_token=page.next_page_token)

    async def _email(self, customer: str) -> str:
        return (await self._customers.GetCustomer(GetCustomerRequest(name=customer))).customer.email

    async def _products(self, request: pb.PlaceOrderRequest) -> dict[str, Product]:
        names = sorted({line.product for line in request.lines})
        if not names:
            return {}

        async def ask() -> dict[str, Product]:
            asked = BatchGetProductsRequest(names=names)
            response = await self._catalog.BatchGetProducts(asked, timeout=PARTNER_TIMEOUT_S)
            products = {product.name: product for product in response.products}
            self._copies.put(products)
            return products

        def copied() -> dict[str, Product] | None:
            products = self._copies.get(names)
            return products if products and domain.on_offer(request.lines, products) else None

        return await self._copied_products.around(ask(), copied)

    async def _carriage(self, request: pb.PlaceOrderRequest, products: dict[str, Product]) -> Money | None:
        if request.carriage_agreed or not request.lines:
            return None
        asked = QuoteCarriageRequest(
            region_code=request.shipping_address.region_code,
            pieces=sum(line.quantity for line in request.lines),
            currency_code=domain.currency_of(request, products),
        )

        async def ask() -> Money:
            return (await self._shipping.QuoteCarriage(asked, timeout=PARTNER_TIMEOUT_S)).price

        return await self._default_carriage.around(ask(), lambda: domain.default_carriage(asked.currency_code))
