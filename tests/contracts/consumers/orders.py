"""The real code of orders that calls others, with its own storage left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.catalog.v1.catalog_pb2 import BatchGetProductsResponse, Price, Product
from mercato.customers.v1.customers_pb2 import Customer, GetCustomerResponse
from mercato.orders.v1.orders_pb2 import Order, PlaceOrderLine, PlaceOrderRequest, Return
from mercato.shipping.v1.shipping_pb2 import QuoteCarriageResponse

from chassis.clock import SystemClock
from chassis.money import money
from chassis.saga import Step
from services.orders import domain
from services.orders.checkout import Checkout
from services.orders.returning import Returning
from services.orders.service import OrderService


class Store:
    """Keeps nothing: takes what is decided, and answers."""

    get: Any = None

    async def create(
        self, name: str, events: Iterable[Message], respond: Callable[[Order], Message], also: object
    ) -> Message:
        """Apply the events of a new order."""
        order = Order()
        for event in events:
            domain.evolve_order(order, event)
        return respond(order)


STORE: Any = Store()
SAGAS: Any = SimpleNamespace(begin=lambda *_: lambda _: None)
NOBODY: Any = None


def checkout(inventory: Any = None, payments: Any = None, shipping: Any = None) -> Mapping[str, Step[Order]]:
    """Return the steps of checkout by name."""
    saga = Checkout(STORE, inventory, payments, shipping, SystemClock()).saga()
    return {step.name: step for step in saga.steps}


def undo(step: Step[Order]) -> Any:
    """Return what undoes a step."""
    assert step.undo is not None
    return step.undo


def returning(inventory: Any = None, payments: Any = None) -> Mapping[str, Step[Return]]:
    """Return the steps of a return by name."""
    return {step.name: step for step in Returning(STORE, inventory, payments, SystemClock()).saga().steps}


def service(catalog: Any = None, customers: Any = None, shipping: Any = None) -> OrderService:
    """Return the servicer that takes orders. Whom a contract is not about answers of itself."""
    others: Any = SimpleNamespace(BatchGetProducts=_products, GetCustomer=_customer, QuoteCarriage=_carriage)
    partners = (catalog or others, customers or others, shipping or others)
    return OrderService(STORE, NOBODY, SAGAS, NOBODY, *partners, SystemClock())


async def place(service: OrderService, region_code: str = "GB") -> Order:
    """Place an order for three mugs, carriage to be added."""
    request = PlaceOrderRequest(
        customer="customers/ada",
        lines=[PlaceOrderLine(product=MUG.name, quantity=3)],
        shipping_address=PostalAddress(region_code=region_code, address_lines=["1 High Street"]),
        card_token="tok_ok",
    )
    return (await service.PlaceOrder(request, None)).order


class Mug(NamedTuple):
    """What is bought."""

    name: str
    price_minor: int


MUG = Mug("products/mug", 250)


async def _products(_: object, timeout: float) -> BatchGetProductsResponse:
    price = Price(amount=money(MUG.price_minor, "GBP"))
    return BatchGetProductsResponse(products=[Product(name=MUG.name, prices=[price])])


async def _customer(_: object) -> GetCustomerResponse:
    return GetCustomerResponse(customer=Customer(email="ada@customers.example"))


async def _carriage(_: object, timeout: float) -> QuoteCarriageResponse:
    return QuoteCarriageResponse(price=money(495, "GBP"))
