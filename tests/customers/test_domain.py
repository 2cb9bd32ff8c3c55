"""What can happen to a customer, without I/O."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.customers.v1.customers_pb2 import Customer, CustomerUpdated

from chassis.errors import InvalidArgument
from services.customers import domain

NOW = datetime(2010, 12, 1, 8, 26, tzinfo=UTC)
HOME = PostalAddress(region_code="GB", address_lines=["1 High Street"], locality="London")


def known(**fields: object) -> Customer:
    asked = Customer(name="customers/1", kind=Customer.KIND_ACCOUNT, display_name="Ann", email="ann@shop.example")
    asked.MergeFrom(Customer(**fields))  # type: ignore[arg-type]
    return evolved(Customer(), domain.create(asked, NOW))


def evolved(customer: Customer, events: list[Message]) -> Customer:
    for event in events:
        domain.evolve(customer, event)
    return customer


def test_what_is_output_only_cannot_be_brought_along() -> None:
    customer = known(etag="7", create_time={"seconds": 1})
    assert customer.create_time.ToDatetime(UTC) == NOW
    assert not customer.etag


def test_only_named_fields_change() -> None:
    asked = Customer(name="customers/1", display_name="Eve", email="eve@shop.example", kind=Customer.KIND_GUEST)
    customer = evolved(known(), domain.update(known(), asked, ["email"]))
    assert (customer.display_name, customer.email, customer.kind) == ("Ann", "eve@shop.example", Customer.KIND_ACCOUNT)


def test_an_update_to_what_it_is_already_is_no_event() -> None:
    assert domain.update(known(), known(), ["display_name", "email"]) == []
    assert domain.update(known(), Customer(email="eve@shop.example"), ["email"]) == [
        CustomerUpdated(name="customers/1", display_name="Ann", email="eve@shop.example")
    ]


def test_twenty_addresses_are_the_most_and_replacing_one_is_no_more() -> None:
    customer = known(addresses={f"label-{number}": HOME for number in range(20)})
    with pytest.raises(domain.TooManyAddresses, match="customers/1 has 20 addresses"):
        domain.put_address(customer, "another", HOME)
    elsewhere = PostalAddress(region_code="FR")
    evolved(customer, domain.put_address(customer, "label-7", elsewhere))
    assert customer.addresses["label-7"] == elsewhere
    assert len(customer.addresses) == 20


def test_an_address_that_is_there_already_is_no_event() -> None:
    assert domain.put_address(known(addresses={"home": HOME}), "home", HOME) == []


def test_removing_an_address_needs_one() -> None:
    customer = known(addresses={"home": HOME})
    evolved(customer, domain.remove_address(customer, "home"))
    assert not customer.addresses
    with pytest.raises(domain.AddressNotFound, match="customers/1 has no address labelled home"):
        domain.remove_address(customer, "home")


@pytest.mark.parametrize(
    ("address", "field"),
    [
        (PostalAddress(), "address.region_code"),
        (PostalAddress(region_code="gb"), "address.region_code"),
        (PostalAddress(region_code="GB\n"), "address.region_code"),
        (PostalAddress(region_code="GB", locality="x" * 201), "address.locality"),
        (PostalAddress(region_code="GB", address_lines=["x"] * 11), "address.address_lines"),
        (PostalAddress(region_code="GB", recipients=["x" * 201]), "address.recipients"),
    ],
)
def test_a_bad_address_is_refused_by_field(address: PostalAddress, field: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        domain.put_address(known(), "home", address)
    assert list(refused.value.fields) == [field]
