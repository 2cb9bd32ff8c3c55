"""What orders needs of the catalog: which products there are, and at what prices they are on offer."""

from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from chassis.errors import FailedPrecondition
from chassis.money import money
from chassis.testing.consumer import Contract, Exchange, Pacts, State
from chassis.testing.mock import Mock
from tests.contracts.consumers.clients import CALLED_BY_ORDERS, NOT_FOUND, agree, agree_refusal, failure, stub_of
from tests.contracts.consumers.orders import place, service

SERVICE = pb.DESCRIPTOR.services_by_name["CatalogService"]
GET = SERVICE.methods_by_name["BatchGetProducts"]
REQUEST = pb.BatchGetProductsRequest(names=["products/mug"])
ON_OFFER = State("product", name="products/mug", price_minor=250)
WITHDRAWN = State("withdrawn price", name="products/mug", price_minor=250)


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.calls("orders", "catalog")


@pytest.fixture
def catalog(mock: Mock) -> CatalogServiceStub:
    return stub_of(mock, SERVICE, CatalogServiceStub, "orders")


def products(*prices: pb.Price) -> pb.BatchGetProductsResponse:
    return pb.BatchGetProductsResponse(products=[pb.Product(name="products/mug", prices=prices)])


async def test_price_on_offer(contract: Contract, mock: Mock, catalog: CatalogServiceStub) -> None:
    answer = products(pb.Price(amount=money(250, "GBP")))
    agreed = Exchange("tell the prices on offer", GET, REQUEST, answer, [ON_OFFER], CALLED_BY_ORDERS)
    placed = await agree(contract, mock, agreed, lambda: place(service(catalog=catalog)))
    assert placed.lines[0].unit_price == money(250, "GBP")


async def test_price_withdrawn(contract: Contract, mock: Mock, catalog: CatalogServiceStub) -> None:
    answer = products(pb.Price(amount=money(250, "GBP"), end_time=Timestamp(seconds=1_700_000_000)))
    varies = ["products[0].prices[0].endTime"]
    agreed = Exchange(
        "tell that a price is no longer on offer", GET, REQUEST, answer, [ON_OFFER, WITHDRAWN], CALLED_BY_ORDERS, varies
    )
    async with contract.expecting(mock, agreed):
        with pytest.raises(FailedPrecondition) as refusal:
            await place(service(catalog=catalog))
        assert refusal.value.reason == "PRICE_NOT_OFFERED"


async def test_no_such_product(contract: Contract, mock: Mock, catalog: CatalogServiceStub) -> None:
    missing = failure(NOT_FOUND, "NOT_FOUND", "products/mug does not exist.", name="products/mug")
    agreed = Exchange("tell that there is no such product", GET, REQUEST, missing, (), CALLED_BY_ORDERS)
    await agree_refusal(contract, mock, agreed, lambda: place(service(catalog=catalog)))
