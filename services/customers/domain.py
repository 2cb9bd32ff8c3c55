"""What can happen to a customer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from google.protobuf.message import Message
from google.type.postal_address_pb2 import PostalAddress
from mercato.customers.v1.customers_pb2 import AddressPut, AddressRemoved, Customer, CustomerCreated, CustomerUpdated

from chassis.addresses import check_address
from chassis.clock import timestamp
from chassis.errors import FailedPrecondition, NotFound

MOST_ADDRESSES = 20
CHANGEABLE = ("display_name", "email")


class TooManyAddresses(FailedPrecondition):
    """{name} has {most} addresses, and cannot have more; remove one first."""


class AddressNotFound(NotFound):
    """{name} has no address labelled {label}."""


def create(asked: Customer, now: datetime) -> list[Message]:
    """Open an account, or let a guest in."""
    for label, address in asked.addresses.items():
        check_address(address, f"customer.addresses[{label}]")
    customer = Customer()
    customer.CopyFrom(asked)
    customer.etag = ""
    customer.create_time.CopyFrom(timestamp(now))
    return [CustomerCreated(customer=customer)]


def update(customer: Customer, asked: Customer, paths: Sequence[str]) -> list[Message]:
    """Change the fields that `paths` names to what is asked."""
    before = {field: getattr(customer, field) for field in CHANGEABLE}
    after = before | {field: getattr(asked, field) for field in paths}
    return [CustomerUpdated(name=customer.name, **after)] if after != before else []


def put_address(customer: Customer, label: str, address: PostalAddress) -> list[Message]:
    """Add an address, or replace the one with that label."""
    check_address(address)
    if label not in customer.addresses and len(customer.addresses) >= MOST_ADDRESSES:
        raise TooManyAddresses(name=customer.name, most=MOST_ADDRESSES)
    if label in customer.addresses and customer.addresses[label] == address:
        return []
    return [AddressPut(name=customer.name, label=label, address=address)]


def remove_address(customer: Customer, label: str) -> list[Message]:
    """Remove an address."""
    if label not in customer.addresses:
        raise AddressNotFound(name=customer.name, label=label)
    return [AddressRemoved(name=customer.name, label=label)]


def evolve(customer: Customer, event: Message) -> None:
    """Apply what happened."""
    match event:
        case CustomerCreated():
            customer.CopyFrom(event.customer)
        case CustomerUpdated():
            customer.display_name, customer.email = event.display_name, event.email
        case AddressPut():
            customer.addresses[event.label].CopyFrom(event.address)
        case AddressRemoved():
            del customer.addresses[event.label]
