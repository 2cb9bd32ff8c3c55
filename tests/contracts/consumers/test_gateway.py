"""What the gateway needs of every service behind it: that calls and streams come as its routes say, and errors whole.

It passes on any method and reads no field itself, so there is one contract with each service, not one for each method.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from mercato.catalog.v1 import catalog_pb2
from mercato.customers.v1 import customers_pb2
from mercato.inventory.v1 import inventory_pb2
from mercato.notifications.v1 import notifications_pb2
from mercato.orders.v1 import orders_pb2
from mercato.payments.v1 import payments_pb2
from mercato.shipping.v1 import shipping_pb2

from chassis.clock import SystemClock
from chassis.settings import Settings
from chassis.testing.consumer import Exchange, Pacts, State
from chassis.testing.mock import Mock
from services.gateway.contract import Contract, backend_of
from services.gateway.gateway import Gateway
from tests.contracts.consumers.clients import NOT_FOUND, failure

ORDERS = orders_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name


@pytest.fixture(scope="module")
async def http(mock: Mock) -> AsyncIterator[aiohttp.ClientSession]:
    """A real gateway; every service behind it is the mock."""
    contract = Contract.load()
    targets = {backend_of(service): mock.target for service in contract.services}
    settings = Settings("gateway", "gateway/1", port=0, http_port=0, targets=targets, drain_s=0.0, grace_s=1.0)
    async with (
        Gateway(settings, SystemClock(), contract) as gateway,
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.http_port}") as http,
    ):
        yield http


@pytest.mark.parametrize(
    ("provider", "service", "method", "request_type", "name"),
    [
        ("catalog", "CatalogService", "GetProduct", catalog_pb2.GetProductRequest, "products/none"),
        ("customers", "CustomerService", "GetCustomer", customers_pb2.GetCustomerRequest, "customers/none"),
        ("inventory", "InventoryService", "GetReservation", inventory_pb2.GetReservationRequest, "reservations/none"),
        ("notifications", "NotificationService", "GetMail", notifications_pb2.GetMailRequest, "mails/none"),
        ("orders", "OrderService", "GetOrder", orders_pb2.GetOrderRequest, "orders/none"),
        ("payments", "PaymentService", "GetPayment", payments_pb2.GetPaymentRequest, "payments/none"),
        ("shipping", "ShippingService", "GetShipment", shipping_pb2.GetShipmentRequest, "shipments/none"),
    ],
)
async def test_error(
    pacts: Pacts, mock: Mock, http: aiohttp.ClientSession,
    provider: str, service: str, method: str, request_type: type[orders_pb2.GetOrderRequest], name: str,
) -> None:  # fmt: skip
    missing = failure(NOT_FOUND, "NOT_FOUND", f"{name} does not exist.", name=name)
    [found] = [each for each in Contract.load().methods if each.full_name.endswith(f".{service}.{method}")]
    exchange = Exchange("tell what does not exist", found, request_type(name=name), missing)
    async with pacts.calls("gateway", provider).expecting(mock, exchange), http.get(f"/v1/{name}") as response:
        assert response.status == 404
        assert '"NOT_FOUND"' in await response.text()


async def test_stream_of_answers(pacts: Pacts, mock: Mock, http: aiohttp.ClientSession) -> None:
    states = (orders_pb2.Order.STATE_PLACED, orders_pb2.Order.STATE_CONFIRMED)
    changes = [orders_pb2.WatchOrderResponse(order=orders_pb2.Order(name="orders/o1", state=it)) for it in states]
    request, given = orders_pb2.WatchOrderRequest(name="orders/o1"), [State("placed order", id="o1")]
    exchange = Exchange("tell of each change of an order", ORDERS["WatchOrder"], request, changes, given)
    contract = pacts.calls("gateway", "orders")
    async with contract.expecting(mock, exchange), http.get("/v1/orders/o1:watch") as response:
        events = [
            line.removeprefix("data:") for line in (await response.text()).splitlines() if line.startswith("data")
        ]
    assert [json.loads(event)["order"]["state"] for event in events[:2]] == ["STATE_PLACED", "STATE_CONFIRMED"]


async def test_stream_of_requests(pacts: Pacts, mock: Mock, http: aiohttp.ClientSession) -> None:
    titles = {"products/mug": "Mug", "products/jug": "Jug"}
    products = [catalog_pb2.Product(name=name, title=title) for name, title in titles.items()]
    requests = [catalog_pb2.ImportProductsRequest(product=product) for product in products]
    answer = catalog_pb2.ImportProductsResponse(created_count=2)
    exchange = Exchange("bring in many products", CATALOG["ImportProducts"], requests, answer)
    lines = "".join(json.dumps({"product": {"name": it.name, "title": it.title}}) + "\n" for it in products)
    headers = {"Content-Type": "application/x-ndjson"}
    contract = pacts.calls("gateway", "catalog")
    async with contract.expecting(mock, exchange), http.post("/v1/products:import", data=lines, headers=headers) as it:
        assert (it.status, await it.json()) == (200, {"createdCount": 2})
