"""What orders needs of shipping: the price of carriage, and to book and give up a shipment."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.orders.v1.orders_pb2 import Order, OrderLine
from mercato.shipping.v1 import shipping_pb2 as pb
from mercato.shipping.v1.shipping_pb2_grpc import ShippingServiceStub

from chassis.clock import derived_id
from chassis.money import money
from chassis.testing.consumer import Contract, Exchange, Pacts, State
from chassis.testing.mock import Mock
from tests.contracts.consumers.clients import (
    CALLED_BY_ORDERS,
    FAILED_PRECONDITION,
    agree,
    agree_refusal,
    failure,
    stub_of,
)
from tests.contracts.consumers.orders import MUG, checkout, place, service, undo

SERVICE = pb.DESCRIPTOR.services_by_name["ShippingService"]
BOOKED, CANCELLED = State("booked shipment", id="o1"), State("cancelled shipment", id="o1")
CANCEL = pb.CancelShipmentRequest(request_id=derived_id("orders/o1", "cancel_shipment"), name="shipments/o1")


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.calls("orders", "shipping")


@pytest.fixture
def shipping(mock: Mock) -> ShippingServiceStub:
    return stub_of(mock, SERVICE, ShippingServiceStub, "orders")


def exchange(description: str, method: str, request: Message, answer: Any, *given: State) -> Exchange:
    return Exchange(description, SERVICE.methods_by_name[method], request, answer, given, CALLED_BY_ORDERS)


def order(region_code: str = "GB") -> Order:
    address = PostalAddress(region_code=region_code, address_lines=["1 High Street"])
    lines = [OrderLine(product="products/mug", quantity=3)]
    return Order(name="orders/o1", lines=lines, shipping_address=address)


def book(order: Order) -> pb.BookShipmentRequest:
    return pb.BookShipmentRequest(
        request_id=derived_id("orders/o1", "book_shipment"),
        shipment_id="o1",
        order="orders/o1",
        pieces=3,
        address=order.shipping_address,
    )


def quote(region_code: str) -> pb.QuoteCarriageRequest:
    return pb.QuoteCarriageRequest(region_code=region_code, pieces=3, currency_code="GBP")


async def test_quote(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    answer = pb.QuoteCarriageResponse(price=money(495, "GBP"))
    agreed = exchange("tell the price of carriage", "QuoteCarriage", quote("GB"), answer)
    placed = await agree(contract, mock, agreed, lambda: place(service(shipping=shipping), "GB"))
    assert placed.charges[0].unit_price == money(495, "GBP")
    assert placed.total == money(495 + 3 * MUG.price_minor, "GBP")


async def test_quote_whole_pounds(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    answer = pb.QuoteCarriageResponse(price=money(4000, "GBP"))
    agreed = exchange("tell the price of carriage overseas", "QuoteCarriage", quote("AU"), answer)
    placed = await agree(contract, mock, agreed, lambda: place(service(shipping=shipping), "AU"))
    assert placed.charges[0].unit_price == money(4000, "GBP")


async def test_quote_nowhere(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    message, data = "No carrier of ours goes to QQ.", {"region_code": "QQ"}
    refused = failure(FAILED_PRECONDITION, "DESTINATION_NOT_SERVED", message, **data)
    agreed = exchange("refuse carriage to where nobody goes", "QuoteCarriage", quote("QQ"), refused)
    await agree_refusal(contract, mock, agreed, lambda: place(service(shipping=shipping), "QQ"))


async def test_book(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    agreed = exchange("book the shipment of an order", "BookShipment", book(order()), pb.BookShipmentResponse())
    await agree(contract, mock, agreed, lambda: checkout(shipping=shipping)["book_shipment"].do(order()))


async def test_book_nowhere(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    message, data = "No carrier of ours goes to QQ.", {"region_code": "QQ"}
    refused = failure(FAILED_PRECONDITION, "DESTINATION_NOT_SERVED", message, **data)
    agreed = exchange("refuse a shipment to where nobody goes", "BookShipment", book(order("QQ")), refused)
    await agree_refusal(contract, mock, agreed, lambda: checkout(shipping=shipping)["book_shipment"].do(order("QQ")))


async def test_book_after_the_cancellation(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    message, data = "shipments/o1 was cancelled and cannot be booked any more.", {"name": "shipments/o1"}
    late = failure(FAILED_PRECONDITION, "SHIPMENT_NOT_BOOKABLE", message, **data)
    agreed = exchange("refuse a shipment given up before", "BookShipment", book(order()), late, CANCELLED)
    await agree_refusal(contract, mock, agreed, lambda: checkout(shipping=shipping)["book_shipment"].do(order()))


async def test_cancel(contract: Contract, mock: Mock, shipping: ShippingServiceStub) -> None:
    for description, given in {"give up a shipment": [BOOKED], "give up what was never booked": []}.items():
        agreed = exchange(description, "CancelShipment", CANCEL, pb.CancelShipmentResponse(), *given)
        await agree(contract, mock, agreed, lambda: undo(checkout(shipping=shipping)["book_shipment"])(order()))
