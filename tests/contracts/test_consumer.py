"""What a consumer's test holds: it fails when the consumer does not do what was agreed, even if nobody notices."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub
from mercato.inventory.v1 import inventory_pb2
from mercato.inventory.v1.inventory_pb2_grpc import InventoryServiceStub

from chassis.testing.consumer import Contract, ContractBroken, Exchange, Pacts
from chassis.testing.mock import Mock
from chassis.testing.pacts import read
from chassis.testing.schema import Usage
from tests.contracts.protos import IMAGE
from tests.contracts.regeneration import CONTRACTS, compare, regenerate

METHODS = pb.DESCRIPTOR.services_by_name["CatalogService"].methods_by_name
REQUEST = pb.GetProductRequest(name="products/mug")
GET = Exchange("get", METHODS["GetProduct"], REQUEST, pb.GetProductResponse(product=pb.Product(title="Mug")))


@pytest.fixture
def contract() -> Contract:
    return Pacts().calls("orders", "catalog")


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with Mock() as mock:
        yield mock


@pytest.fixture
async def channel(mock: Mock) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mock.target) as channel:
        yield channel


async def test_what_was_agreed_is_answered(contract: Contract, mock: Mock, channel: grpc.aio.Channel) -> None:
    async with contract.expecting(mock, GET):
        assert (await CatalogServiceStub(channel).GetProduct(REQUEST)).product.title == "Mug"
    assert list(contract.interactions) == ["get"]


async def test_nothing_was_asked(contract: Contract, mock: Mock) -> None:
    with pytest.raises(ContractBroken):
        async with contract.expecting(mock, GET):
            pass
    assert not contract.interactions


Ask = Callable[[], Awaitable[object]]


async def swallowing(contract: Contract, mock: Mock, exchange: Exchange, *asked: Ask) -> None:
    """Ask as a consumer does that swallows errors."""
    async with contract.expecting(mock, exchange):
        for ask in asked:
            with suppress(grpc.aio.AioRpcError):
                await ask()


async def test_something_else_was_asked(contract: Contract, mock: Mock, channel: grpc.aio.Channel) -> None:
    ask = CatalogServiceStub(channel).GetProduct
    other = pb.GetProductRequest(name="products/jug")
    with pytest.raises(ContractBroken, match="not in the contract"):
        await swallowing(contract, mock, GET, lambda: ask(REQUEST), lambda: ask(other))
    assert not contract.interactions


async def test_another_method_was_called(contract: Contract, mock: Mock, channel: grpc.aio.Channel) -> None:
    agreed, other = CatalogServiceStub(channel).GetProduct, InventoryServiceStub(channel).GetStock
    with pytest.raises(ContractBroken, match="GetStock was called, which is not in the contract"):
        await swallowing(contract, mock, GET, lambda: agreed(REQUEST), lambda: other(inventory_pb2.GetStockRequest()))


async def test_metadata_that_was_agreed_is_missing(contract: Contract, mock: Mock, channel: grpc.aio.Channel) -> None:
    metadata = {"mercato-caller": "orders"}
    exchange = Exchange("get", METHODS["GetProduct"], REQUEST, pb.GetProductResponse(), metadata=metadata)
    with pytest.raises(ContractBroken, match="mercato-caller"):
        await swallowing(contract, mock, exchange, lambda: CatalogServiceStub(channel).GetProduct(REQUEST))


async def test_two_of_one_description(contract: Contract, mock: Mock, channel: grpc.aio.Channel) -> None:
    async with contract.expecting(mock, GET):
        await CatalogServiceStub(channel).GetProduct(REQUEST)
    other = Exchange("get", METHODS["GetProduct"], REQUEST, pb.GetProductResponse())
    with pytest.raises(ContractBroken, match="two interactions"):
        await swallowing(contract, mock, other, lambda: CatalogServiceStub(channel).GetProduct(REQUEST))


def test_a_handler_that_fails(contract: Contract) -> None:
    events = Pacts().events("notifications", "catalog")
    with pytest.raises(ValueError, match="not for me"), events.delivering("tell", pb.ProductCreated()):
        raise ValueError("not for me")
    assert not events.interactions


# Regeneration


async def test_two_regenerations_give_what_is_committed(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        assert await regenerate(folder) == []
        assert compare(folder, CONTRACTS, ["orders", "gateway", "notifications"]) == []


def test_what_differs_is_told(tmp_path: Path) -> None:
    fresh, committed = tmp_path / "fresh", tmp_path / "committed"
    for folder, content in {fresh: "new", committed: "old"}.items():
        (folder / "orders").mkdir(parents=True)
        (folder / "orders" / "catalog.json").write_text(content)
    (fresh / "orders" / "payments.json").write_text("")
    (committed / "orders" / "billing.json").write_text("")
    (committed / "stranger").mkdir()
    (committed / "stranger" / "catalog.json").write_text("")
    assert compare(fresh, committed, ["orders"]) == [
        "orders/catalog.json: the consumer's tests agree on something else than is committed",
        "orders/payments.json: is not committed",
        "orders/billing.json: no consumer's test makes it any more",
    ]
    assert "the consumers' tests made no pacts" in compare(tmp_path / "none", committed, ["orders"])


def test_a_change_elsewhere_leaves_the_descriptors(tmp_path: Path) -> None:
    """Neither another file, nor another message or field of the same file gets into a pact."""
    before = FileDescriptorSet.FromString(IMAGE.read_bytes())
    after = FileDescriptorSet.FromString(IMAGE.read_bytes())
    for file in after.file:
        if file.package == "mercato.catalog.v1":
            file.message_type.add(name="Unrelated").field.add(name="x", number=1, type=9, label=1)
            for message in file.message_type:
                if message.name in ("Product", "GetProductRequest"):
                    message.field.add(name="further", number=99, type=FieldDescriptorProto.TYPE_STRING, label=1)
        if file.package == "mercato.inventory.v1":
            file.message_type.add(name="Unrelated")
    assert used(before) == used(after)


def used(files: FileDescriptorSet) -> FileDescriptorSet:
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    method = pool.FindMethodByName("mercato.catalog.v1.CatalogService.GetProduct")
    answer = GetMessageClass(method.output_type)()
    answer.ParseFromString(pb.GetProductResponse(product=pb.Product(title="Mug")).SerializeToString())
    usage = Usage()
    usage.add_method(method)
    usage.add_message(answer)
    return usage.files()


def test_only_what_is_used_is_inside() -> None:
    schema = read(CONTRACTS / "orders" / "customers.json").schema
    assert list(schema.methods) == ["/mercato.customers.v1.CustomerService/GetCustomer"]
    assert [each.name for each in schema.message("mercato.customers.v1.Customer").fields] == ["email"]
    assert [file.name for file in schema.files.file] == ["mercato/customers/v1/customers.proto"]
