"""The same request again: one effect and the same answer, over real gRPC and PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from mercato.catalog.v1 import catalog_pb2 as pb
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from chassis.call import Call, serving
from chassis.database import RequestRepeated
from chassis.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from chassis.idempotency import RETENTION
from chassis.telemetry.trace import Trace
from tests.chassis.shelf import Shelf, new_name, new_request_id, stub
from tests.stage import Stage


@pytest.fixture(scope="module")
async def shelf(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return await Shelf.open(stage, tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def catalog(stage: Stage, shelf: Shelf) -> CatalogServiceStub:
    return stub(stage)


def creation(name: str = "", title: str = "Mug") -> pb.CreateProductRequest:
    return pb.CreateProductRequest(
        request_id=new_request_id(), product=pb.Product(name=name or new_name(), title=title)
    )


def update(name: str, title: str, etag: str = "") -> pb.UpdateProductRequest:
    return pb.UpdateProductRequest(
        request_id=new_request_id(),
        product=pb.Product(name=name, title=title, etag=etag),
        update_mask=FieldMask(paths=["title"]),
    )


async def stored(shelf: Shelf, request_id: str) -> int:
    count: int = await shelf.app.database.value("SELECT count(*) FROM requests WHERE id = $1", request_id)
    return count


async def test_the_same_creation_a_hundred_times_at_once_is_one(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    request = creation()
    answers = await asyncio.gather(*(catalog.CreateProduct(request) for _ in range(100)))
    assert all(answer == answers[0] for answer in answers)
    assert await shelf.events(request.product.name) == [1]


async def test_the_same_change_a_hundred_times_at_once_is_one(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    name = (await catalog.CreateProduct(creation())).product.name
    request = update(name, "Cup")
    answers = await asyncio.gather(*(catalog.UpdateProduct(request) for _ in range(100)))
    assert {(answer.product.title, answer.product.etag) for answer in answers} == {("Cup", "2")}
    assert await shelf.events(name) == [1, 2]


async def test_a_repeated_request_gets_the_answer_of_its_time(catalog: CatalogServiceStub) -> None:
    name = (await catalog.CreateProduct(creation())).product.name
    first, second = update(name, "First", etag="1"), update(name, "Second")
    answer = await catalog.UpdateProduct(first)
    await catalog.UpdateProduct(second)
    assert await catalog.UpdateProduct(first) == answer  # though the etag is old and the title another by now
    assert answer.product.title == "First"


async def test_a_change_of_nothing_is_answered_again_too(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    name = (await catalog.CreateProduct(creation())).product.name
    request = update(name, "Mug")
    assert await catalog.UpdateProduct(request) == await catalog.UpdateProduct(request)
    assert await shelf.events(name) == [1]


async def test_an_id_used_for_another_request_is_refused(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    request = creation()
    await catalog.CreateProduct(request)
    other = creation(title="Another")
    other.request_id = request.request_id
    elsewhere = update(request.product.name, "Cup")
    elsewhere.request_id = request.request_id
    for reused in (catalog.CreateProduct(other), catalog.UpdateProduct(elsewhere)):
        with pytest.raises(InvalidArgument) as error:
            await reused
        assert error.value.reason == "REQUEST_ID_REUSED"
        assert list(error.value.fields) == ["request_id"]
        assert error.value.data == {"request_id": request.request_id}
    assert await shelf.products.find(other.product.name) is None
    assert (await shelf.products.get(request.product.name)).title == "Mug"


async def test_the_same_id_of_another_caller_is_another_request(
    stage: Stage, shelf: Shelf, catalog: CatalogServiceStub
) -> None:
    request, theirs = creation(), creation()
    theirs.request_id = request.request_id
    await catalog.CreateProduct(request)
    await stub(stage, caller="others").CreateProduct(theirs)
    assert await shelf.events(theirs.product.name) == [1]
    assert await stored(shelf, request.request_id) == 2


async def test_a_refused_request_may_succeed_later(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    name = new_name()
    request = update(name, "Cup")
    for _ in range(2):
        with pytest.raises(NotFound):
            await catalog.UpdateProduct(request)
    assert await stored(shelf, request.request_id) == 0
    await catalog.CreateProduct(creation(name))
    assert (await catalog.UpdateProduct(request)).product.title == "Cup"
    assert await stored(shelf, request.request_id) == 1


async def test_a_refusal_stays_one_while_its_reason_does(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    name = (await catalog.CreateProduct(creation())).product.name
    refused = update(name, "none")
    for _ in range(2):
        with pytest.raises(FailedPrecondition) as error:
            await catalog.UpdateProduct(refused)
        assert error.value.reason == "UNTITLED"
    with pytest.raises(AlreadyExists):
        await catalog.CreateProduct(creation(name))


async def test_whatever_a_repeated_request_runs_into_it_is_answered(
    shelf: Shelf, catalog: CatalogServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = creation()
    answer = await catalog.CreateProduct(request)

    async def trip(request: object, context: object) -> pb.CreateProductResponse:
        raise KeyError("a row that the first try wrote")

    monkeypatch.setattr(shelf.products, "create", trip)
    assert await catalog.CreateProduct(request) == answer


async def test_answers_are_forgotten_when_they_are_old(shelf: Shelf, catalog: CatalogServiceStub) -> None:
    old, new = creation(), creation()
    for request in (old, new):
        await catalog.CreateProduct(request)
    await shelf.app.database.value(
        "UPDATE requests SET create_time = create_time - $1::interval WHERE id = $2",
        RETENTION + timedelta(seconds=1), old.request_id,
    )  # fmt: skip
    await shelf.app.requests.prune()
    assert [await stored(shelf, request.request_id) for request in (old, new)] == [0, 1]


async def test_who_acts_elsewhere_first_can_ask_whether_it_is_answered(
    shelf: Shelf, catalog: CatalogServiceStub
) -> None:
    request = creation()
    await shelf.app.requests.refuse_repeated()  # outside of calls there is nothing to repeat
    await catalog.CreateProduct(request)
    row = await shelf.app.database.row("SELECT * FROM requests WHERE id = $1", request.request_id)
    assert row is not None
    call = Call("", "tests", None, Trace.start(), request_id=request.request_id, request_digest=row["digest"])
    with serving(call), pytest.raises(RequestRepeated):
        await shelf.app.requests.refuse_repeated()
    call.request_id = new_request_id()
    with serving(call):
        await shelf.app.requests.refuse_repeated()
