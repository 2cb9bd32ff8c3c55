"""What the gateway needs of every service behind it: each method that its routes name, with the fields that they bind.

It passes answers on and reads no field of them; of errors it needs the details. So each method is asked for in a world
where nothing exists, and what it answers there tells that what the route bound has arrived.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass
from google.rpc.status_pb2 import Status
from mercato.catalog.v1 import catalog_pb2
from mercato.orders.v1 import orders_pb2

from chassis.clock import SystemClock
from chassis.policy import is_everywhere
from chassis.settings import Settings
from chassis.testing.consumer import Exchange, Pacts, State
from chassis.testing.mock import Mock
from chassis.testing.wire import status_to_json
from services.gateway.contract import Contract, bindings
from services.gateway.gateway import Gateway
from tests.contracts.consumers.clients import FAILED_PRECONDITION, NOT_FOUND, failure, providers_of
from tests.contracts.consumers.requests import ID, TRACE_ID, HttpRequest, request_of

ORDERS = orders_pb2.DESCRIPTOR.services_by_name["OrderService"].methods_by_name
CATALOG = catalog_pb2.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name
METHODS = [
    (provider, it)
    for it in Contract.load().methods
    if not it.client_streaming and not it.server_streaming
    for provider in providers_of(it.containing_service)
]


def missing(name: str) -> Status:
    return failure(NOT_FOUND, "NOT_FOUND", f"{name} does not exist.", name=name)


ANSWERS: Mapping[str, Status | None] = {
    "BatchGetOrders": missing("orders/a1"),
    "BatchGetProducts": missing("products/a1"),
    "CancelShipment": None,  # what never happened is undone, too
    "CreateReturn": missing("customers/a1"),
    "GetTrace": None,
    "ListMovements": None,
    "ReleaseReservation": None,
    "ReserveStock": failure(
        FAILED_PRECONDITION, "OUT_OF_STOCK", "Of products/a1 only 0 pieces are available, not 2.",
        product="products/a1", quantity="2", available="0",
    ),
    "VoidPayment": None,
}  # fmt: skip
"""Where it is not that what the path names does not exist; None is OK."""
GIVEN: Mapping[str, list[State]] = {
    "GetTrace": [State("trace", id=TRACE_ID)],
    "PlaceOrder": [
        State("customer", name="customers/a1", email="ada@customers.example"),
        State("product", name="products/a1", price_minor=200),
    ],
}


@pytest.fixture(scope="module")
async def http(mock: Mock) -> AsyncIterator[aiohttp.ClientSession]:
    """A real gateway; every service behind it is the mock."""
    contract = Contract.load()
    targets = dict.fromkeys(contract.backends, mock.target)
    settings = Settings("gateway", "gateway/1", port=0, http_port=0, targets=targets, drain_s=0.0, grace_s=1.0)
    async with (
        Gateway(settings, SystemClock(), contract) as gateway,
        aiohttp.ClientSession(f"http://127.0.0.1:{gateway.http_port}") as http,
    ):
        yield http


@pytest.mark.parametrize(("provider", "method"), METHODS, ids=lambda value: getattr(value, "name", value))
async def test_method(
    pacts: Pacts, mock: Mock, http: aiohttp.ClientSession, provider: str, method: MethodDescriptor
) -> None:
    [rule] = bindings(method)
    request: Any = request_of(method)
    if is_everywhere(method.containing_service):
        request.service = provider
    sent = HttpRequest.of(rule, request)
    refusal = refusal_of(provider, method, sent.path)
    answer = refusal or GetMessageClass(method.output_type)()
    exchange = Exchange(f"serve {sent.verb} {sent.path}", method, request, answer, GIVEN.get(method.name, ()))
    contract = pacts.calls("gateway", provider)
    asking = http.request(sent.verb, sent.path, params=sent.query, json=sent.body)
    async with contract.expecting(mock, exchange), asking as response:
        assert await response.json() == (status_to_json(refusal) if refusal else {})


def refusal_of(provider: str, method: MethodDescriptor, path: str) -> Status | None:
    """Return how a method refuses where nothing exists, if it does."""
    if (provider, method.name) == ("orders", "ReplayDeadLetters"):
        return failure(NOT_FOUND, "NOT_FOUND", "this service handles no events")
    named = re.match(rf"/v1/(\w+/{ID})", path)
    return ANSWERS.get(method.name, missing(named[1]) if named else None)


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
