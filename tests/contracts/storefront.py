"""A consumer that is none of ours: a shop window of somebody else's, that reads more than our services do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.postal_address_pb2 import PostalAddress
from mercato.catalog.v1 import catalog_pb2, catalog_pb2_grpc
from mercato.customers.v1 import customers_pb2, customers_pb2_grpc
from mercato.inventory.v1 import inventory_pb2, inventory_pb2_grpc
from mercato.payments.v1 import payments_pb2, payments_pb2_grpc

from chassis.money import money
from chassis.testing.consumer import Exchange, Pacts, State
from chassis.testing.mock import Mock

NAME = "storefront"
PRODUCT = catalog_pb2.Product(
    name="products/mug",
    title="Mug",
    prices=[catalog_pb2.Price(amount=money(199, "GBP")), catalog_pb2.Price(amount=money(250, "GBP"))],
    create_time=Timestamp(seconds=1_700_000_000),
)
CUSTOMER = customers_pb2.Customer(
    name="customers/ada",
    kind=customers_pb2.Customer.KIND_ACCOUNT,
    email="ada@customers.example",
    addresses={"home": PostalAddress(region_code="GB", address_lines=["1 High Street"])},
)
STOCK = inventory_pb2.Stock(name="stocks/mug", on_hand=3)
PAYMENT = payments_pb2.Payment(
    name="payments/o1", state=payments_pb2.Payment.STATE_CAPTURED, captured=money(1250, "GBP")
)


async def agree(folder: Path, mock: Mock) -> None:
    """Write the pacts of the shop window."""
    pacts = Pacts()
    for provider, stub, method, request, answer, given, varies in _reads():
        service = request.DESCRIPTOR.file.services_by_name
        [found] = [each for it in service.values() for each in it.methods if each.name == method]
        exchange = Exchange(f"show with {method}", found, request, answer, given, varies=varies)
        async with (
            pacts.calls(NAME, provider).expecting(mock, exchange),
            grpc.aio.insecure_channel(mock.target) as channel,
        ):
            assert await getattr(stub(channel), method)(request, timeout=5) == answer
    pacts.write(folder)


def _reads() -> list[tuple[str, Any, str, Any, Message, list[State], list[str]]]:
    product = State("product", name="products/mug", price_minor=250)
    offer = State("further price", name="products/mug", price_minor=199)
    customer = State("customer", name="customers/ada", email="ada@customers.example")
    home = State("address", name="customers/ada", label="home", region_code="GB")
    stock = State("stock", product="products/mug", quantity=3)
    paid = [State("authorized payment", id="o1", amount_minor=1250), State("captured payment", id="o1")]
    return [
        (
            "catalog", catalog_pb2_grpc.CatalogServiceStub, "GetProduct",
            catalog_pb2.GetProductRequest(name="products/mug"), catalog_pb2.GetProductResponse(product=PRODUCT),
            [product, offer], ["product.createTime"],
        ),
        (
            "customers", customers_pb2_grpc.CustomerServiceStub, "GetCustomer",
            customers_pb2.GetCustomerRequest(name=CUSTOMER.name), customers_pb2.GetCustomerResponse(customer=CUSTOMER),
            [customer, home], [],
        ),
        (
            "inventory", inventory_pb2_grpc.InventoryServiceStub, "GetStock",
            inventory_pb2.GetStockRequest(name="stocks/mug"), inventory_pb2.GetStockResponse(stock=STOCK),
            [stock], [],
        ),
        (
            "payments", payments_pb2_grpc.PaymentServiceStub, "GetPayment",
            payments_pb2.GetPaymentRequest(name="payments/o1"), payments_pb2.GetPaymentResponse(payment=PAYMENT),
            paid, [],
        ),
    ]  # fmt: skip
