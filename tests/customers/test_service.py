"""CustomerService over real gRPC, with a real database."""

from __future__ import annotations

from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.type.postal_address_pb2 import PostalAddress
from mercato.customers.v1.customers_pb2 import (
    DESCRIPTOR,
    CreateCustomerRequest,
    Customer,
    GetCustomerRequest,
    ListCustomersRequest,
    PutAddressRequest,
    RemoveAddressRequest,
    UpdateCustomerRequest,
)
from mercato.customers.v1.customers_pb2_grpc import CustomerServiceStub

from chassis.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from chassis.repository import Repository
from services.customers.domain import evolve
from tests.stage import Stage

HOME = PostalAddress(region_code="GB", address_lines=["1 High Street"], locality="London")


@pytest.fixture(scope="module")
async def customers(stage: Stage) -> CustomerServiceStub:
    await stage.start("customers")
    return stage.stub(DESCRIPTOR.services_by_name["CustomerService"], CustomerServiceStub)


def new_id() -> str:
    return str(uuid4())


def create_request(name: str = "", **fields: object) -> CreateCustomerRequest:
    customer = Customer(
        name=name or f"customers/{uuid4().hex}",
        kind=Customer.KIND_ACCOUNT,
        display_name="Ann",
        email="ann@shop.example",
    )
    customer.MergeFrom(Customer(**fields))  # type: ignore[arg-type]
    return CreateCustomerRequest(request_id=new_id(), customer=customer)


async def created(customers: CustomerServiceStub, **fields: object) -> Customer:
    return (await customers.CreateCustomer(create_request(**fields))).customer  # type: ignore[arg-type]


async def test_a_customer_is_kept(customers: CustomerServiceStub) -> None:
    customer = await created(customers, addresses={"home": HOME})
    assert customer.etag == "1"
    assert customer.HasField("create_time")
    assert (await customers.GetCustomer(GetCustomerRequest(name=customer.name))).customer == customer


async def test_an_unknown_customer_is_named(customers: CustomerServiceStub) -> None:
    with pytest.raises(NotFound) as missing:
        await customers.GetCustomer(GetCustomerRequest(name="customers/nobody"))
    assert missing.value.data == {"name": "customers/nobody"}


async def test_a_name_is_given_once(customers: CustomerServiceStub) -> None:
    customer = await created(customers)
    with pytest.raises(AlreadyExists) as taken:
        await customers.CreateCustomer(create_request(customer.name, display_name="Eve"))
    assert taken.value.data == {"name": customer.name}
    assert (await customers.GetCustomer(GetCustomerRequest(name=customer.name))).customer == customer


async def test_a_repeated_request_gets_the_same_answer(customers: CustomerServiceStub) -> None:
    request = create_request()
    first = await customers.CreateCustomer(request)
    update = UpdateCustomerRequest(
        request_id=new_id(),
        customer=Customer(name=first.customer.name, display_name="Anna", etag="1"),
        update_mask=FieldMask(paths=["display_name"]),
    )
    second = await customers.UpdateCustomer(update)
    assert await customers.CreateCustomer(request) == first
    assert await customers.UpdateCustomer(update) == second


async def test_a_request_id_serves_one_request(customers: CustomerServiceStub) -> None:
    request = create_request()
    await customers.CreateCustomer(request)
    request.customer.display_name = "Eve"
    with pytest.raises(InvalidArgument) as reused:
        await customers.CreateCustomer(request)
    assert "request_id" in reused.value.fields


async def test_one_field_is_changed_without_sending_the_others(customers: CustomerServiceStub) -> None:
    before = await created(customers)
    update = UpdateCustomerRequest(
        request_id=new_id(),
        customer=Customer(name=before.name, email="eve@shop.example"),
        update_mask=FieldMask(paths=["email"]),
    )
    after = (await customers.UpdateCustomer(update)).customer
    before.MergeFrom(Customer(email="eve@shop.example", etag="2"))
    assert after == before


@pytest.mark.parametrize("path", ["kind", "name", "addresses", "etag", "nonsense", ""])
async def test_a_mask_that_names_what_cannot_be_changed_is_refused(customers: CustomerServiceStub, path: str) -> None:
    customer = await created(customers)
    update = UpdateCustomerRequest(
        request_id=new_id(), customer=customer, update_mask=FieldMask(paths=[path] if path else [])
    )
    with pytest.raises(InvalidArgument) as refused:
        await customers.UpdateCustomer(update)
    assert refused.value.fields == {"update_mask": "expected one or more of display_name, email"}


async def test_a_masked_field_must_be_valid(customers: CustomerServiceStub) -> None:
    customer = await created(customers)
    update = UpdateCustomerRequest(
        request_id=new_id(),
        customer=Customer(name=customer.name, email="nowhere"),
        update_mask=FieldMask(paths=["email"]),
    )
    with pytest.raises(InvalidArgument) as refused:
        await customers.UpdateCustomer(update)
    assert list(refused.value.fields) == ["customer.email"]


async def test_an_old_etag_is_refused(customers: CustomerServiceStub) -> None:
    customer = await created(customers)
    await customers.PutAddress(
        PutAddressRequest(request_id=new_id(), name=customer.name, label="home", address=HOME)
    )  # now it is another version
    customer.display_name = "Anna"
    update = UpdateCustomerRequest(
        request_id=new_id(), customer=customer, update_mask=FieldMask(paths=["display_name"])
    )
    with pytest.raises(Aborted) as old:
        await customers.UpdateCustomer(update)
    assert old.value.reason == "ETAG_MISMATCH"


async def test_addresses_come_and_go(customers: CustomerServiceStub) -> None:
    name = (await created(customers)).name
    put = PutAddressRequest(request_id=new_id(), name=name, label="home", address=HOME)
    remove = RemoveAddressRequest(request_id=new_id(), name=name, label="home")
    with_home = await customers.PutAddress(put)
    assert dict(with_home.customer.addresses) == {"home": HOME}
    without = await customers.RemoveAddress(remove)
    assert not without.customer.addresses
    assert await customers.PutAddress(put) == with_home
    assert await customers.RemoveAddress(remove) == without
    with pytest.raises(NotFound) as gone:
        await customers.RemoveAddress(RemoveAddressRequest(request_id=new_id(), name=name, label="home"))
    assert gone.value.reason == "ADDRESS_NOT_FOUND"
    with pytest.raises(NotFound):
        await customers.PutAddress(
            PutAddressRequest(request_id=new_id(), name="customers/nobody", label="home", address=HOME)
        )


async def test_too_many_addresses_are_refused(customers: CustomerServiceStub) -> None:
    name = (await created(customers, addresses={f"label-{number}": HOME for number in range(20)})).name
    with pytest.raises(FailedPrecondition) as full:
        await customers.PutAddress(PutAddressRequest(request_id=new_id(), name=name, label="another", address=HOME))
    assert full.value.reason == "TOO_MANY_ADDRESSES"


async def test_a_bad_address_is_named_by_its_label(customers: CustomerServiceStub) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await created(customers, addresses={"home": PostalAddress(region_code="Britain")})
    assert list(refused.value.fields) == ["customer.addresses[home].region_code"]


async def test_pages_lead_through_all(customers: CustomerServiceStub) -> None:
    expected = sorted([(await created(customers)).name for _ in range(7)])
    names: list[str] = []
    token = ""
    while True:
        page = await customers.ListCustomers(ListCustomersRequest(page_size=3, page_token=token))
        assert len(page.customers) <= 3
        names += [customer.name for customer in page.customers]
        token = page.next_page_token
        if not token:
            break
    assert names == sorted(names)
    assert len(set(names)) == len(names)
    assert set(expected) <= set(names)


async def test_events_alone_make_the_same_customer(customers: CustomerServiceStub, stage: Stage) -> None:
    name = (await created(customers, addresses={"home": HOME, "work": HOME})).name
    await customers.UpdateCustomer(
        UpdateCustomerRequest(
            request_id=new_id(),
            customer=Customer(name=name, display_name="Anna"),
            update_mask=FieldMask(paths=["display_name"]),
        )
    )
    await customers.RemoveAddress(RemoveAddressRequest(request_id=new_id(), name=name, label="home"))
    await customers.PutAddress(
        PutAddressRequest(request_id=new_id(), name=name, label="depot", address=PostalAddress(region_code="FR"))
    )
    app = stage.apps["customers"]
    repository = Repository(app.database, app.outbox, app.clock, table="customers", state=Customer, evolve=evolve)
    stored = await repository.get(name)
    assert stored.etag == "4"
    assert set(stored.addresses) == {"work", "depot"}
    assert await repository.rebuild(name) == stored
