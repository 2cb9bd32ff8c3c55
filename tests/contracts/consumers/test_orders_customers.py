"""What orders needs of customers: where to write to."""

from __future__ import annotations

import pytest
from mercato.customers.v1 import customers_pb2 as pb
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub

from chassis.testing.consumer import Contract, Exchange, Pacts, State
from chassis.testing.mock import Mock
from tests.contracts.consumers.clients import CALLED_BY_ORDERS, NOT_FOUND, agree, agree_refusal, failure, stub_of
from tests.contracts.consumers.orders import place, service

SERVICE = pb.DESCRIPTOR.services_by_name["CustomerService"]
GET = SERVICE.methods_by_name["GetCustomer"]
REQUEST = pb.GetCustomerRequest(name="customers/ada")


@pytest.fixture
def contract(pacts: Pacts) -> Contract:
    return pacts.calls("orders", "customers")


@pytest.fixture
def customers(mock: Mock) -> CustomerServiceStub:
    return stub_of(mock, SERVICE, CustomerServiceStub, "orders")


async def test_email(contract: Contract, mock: Mock, customers: CustomerServiceStub) -> None:
    answer = pb.GetCustomerResponse(customer=pb.Customer(email="ada@customers.example"))
    given = [State("customer", name="customers/ada", email="ada@customers.example")]
    agreed = Exchange("tell the mail address of a customer", GET, REQUEST, answer, given, CALLED_BY_ORDERS)
    placed = await agree(contract, mock, agreed, lambda: place(service(customers=customers)))
    assert placed.email == "ada@customers.example"


async def test_no_such_customer(contract: Contract, mock: Mock, customers: CustomerServiceStub) -> None:
    missing = failure(NOT_FOUND, "NOT_FOUND", "customers/ada does not exist.", name="customers/ada")
    agreed = Exchange("tell that there is no such customer", GET, REQUEST, missing, (), CALLED_BY_ORDERS)
    await agree_refusal(contract, mock, agreed, lambda: place(service(customers=customers)))
