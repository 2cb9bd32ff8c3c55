"""Aggregates from events on a real database: what commits together, who comes first, what a rebuild gives."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from google.protobuf.message import Message
from mercato.catalog.v1 import catalog_pb2 as pb

from chassis.database import Batch, UnexpectedRows
from chassis.errors import Aborted, AlreadyExists, NotFound
from chassis.repository import EtagMismatch, Repository, Versioned, parse_event
from tests.chassis.shelf import Shelf, created, longer, new_name
from tests.stage import Stage


@pytest.fixture(scope="module")
async def shelf(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return await Shelf.open(stage, tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def products(shelf: Shelf) -> Repository[pb.Product]:
    return shelf.products


def whole(product: pb.Product) -> pb.Product:
    return product


async def new_product(shelf: Shelf, title: str = "Mug") -> str:
    name = new_name()
    await shelf.products.create(name, created(name, title), whole)
    return name


def noting(text: str) -> Batch:
    batch = Batch()
    batch.add("INSERT INTO notes VALUES ($1)", text)
    return batch


async def everything(shelf: Shelf) -> list[list[asyncpg.Record]]:
    queries = "SELECT subject, version FROM events", "TABLE products", "TABLE requests", "SELECT 1, text FROM notes"
    return [await shelf.app.database.rows(f"{query} ORDER BY 1, 2") for query in queries]


async def test_what_is_created_can_be_read(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    expected = pb.Product(name=name, title="Mug", etag="1")
    assert await products.get(name) == await products.find(name) == expected
    assert await products.load([name, new_name()]) == {name: Versioned(expected, 1)}
    assert await shelf.events(name) == [1]


async def test_what_is_not_there_is_named(products: Repository[pb.Product], shelf: Shelf) -> None:
    name, there = new_name(), await new_product(shelf)
    assert await products.find(name) is None
    with pytest.raises(NotFound, match=name):
        await products.get(name)
    with pytest.raises(NotFound, match=name):
        await products.change(name, longer, whole)
    with pytest.raises(NotFound, match=name):
        await products.batch_get([there, name])


async def test_a_second_of_the_same_name_is_refused(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    with pytest.raises(AlreadyExists, match=name):
        await products.create(name, created(name, "Another"), whole)
    assert (await products.get(name)).title == "Mug"


async def test_of_many_that_create_at_once_one_does(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = new_name()
    creating = (products.create(name, created(name, str(number)), whole) for number in range(20))
    results = await asyncio.gather(*creating, return_exceptions=True)
    [winner] = [result for result in results if isinstance(result, pb.Product)]
    assert all(isinstance(result, AlreadyExists) for result in results if result is not winner)
    assert await products.get(name) == winner


async def test_a_change_with_an_old_etag_is_refused(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    changed = await products.change(name, longer, whole, etag="1")
    assert (changed.title, changed.etag) == ("Mug+", "2")
    with pytest.raises(EtagMismatch, match=name):
        await products.change(name, longer, whole, etag="1")
    assert await products.get(name) == changed


async def test_no_events_change_nothing(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    assert (await products.change(name, lambda _: [], whole)).etag == "1"
    assert await shelf.events(name) == [1]


async def test_an_absent_one_can_begin_with_a_change(products: Repository[pb.Product], shelf: Shelf) -> None:
    name = new_name()
    await products.change(name, lambda _: [*created(name), *longer(pb.Product(title="Mug"))], whole, absent=True)
    assert (await products.get(name)).title == "Mug+"
    assert await shelf.events(name) == [1, 2]


async def test_of_fifty_changes_at_once_none_is_lost(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf, title="")
    answers = await asyncio.gather(*(products.change(name, longer, whole) for _ in range(50)))
    assert sorted(len(answer.title) for answer in answers) == list(range(1, 51))
    assert len({answer.etag for answer in answers}) == 50
    assert await shelf.events(name) == list(range(1, 52))
    assert (await products.get(name)).title == "+" * 50
    assert await products.rebuild(name) == await products.get(name)


async def test_of_changes_by_two_instances_at_once_none_is_lost(
    stage: Stage, shelf: Shelf, products: Repository[pb.Product]
) -> None:
    name, other = await new_product(shelf, title=""), Shelf()
    settings = shelf.app.settings
    other.migrations = shelf.migrations
    await stage.start("catalog", other.compose, instance="catalog/2", database_url=settings.database_url)
    changing = (each.change(name, longer, whole) for _ in range(25) for each in (products, other.products))
    await asyncio.gather(*changing)
    assert await shelf.events(name) == list(range(1, 52))
    assert (await products.get(name)).title == "+" * 50


async def test_a_rebuild_gives_what_is_stored(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    for _ in range(5):
        await products.change(name, longer, whole)
    assert await products.rebuild(name) == await products.get(name) == pb.Product(name=name, title="Mug+++++", etag="6")


async def test_events_state_and_all_else_commit_together_or_not_at_all(
    shelf: Shelf, products: Repository[pb.Product]
) -> None:
    name = await new_product(shelf)
    before = await everything(shelf)
    with pytest.raises(asyncpg.CheckViolationError):
        await products.change(name, longer, whole, also=noting("forbidden"))
    with pytest.raises(asyncpg.CheckViolationError):
        await products.create(new_name(), created(new_name()), whole, also=noting("forbidden"))
    short = Batch()
    short.add("UPDATE notes SET text = '' WHERE text = 'nobody' RETURNING 1", rows=1)
    with pytest.raises(UnexpectedRows):
        await products.change(name, longer, whole, also=short)
    assert await everything(shelf) == before
    await products.change(name, longer, whole, also=noting(name))
    assert await shelf.app.database.value("SELECT count(*) FROM notes WHERE text = $1", name) == 1


async def test_what_a_decision_refuses_changes_nothing(shelf: Shelf, products: Repository[pb.Product]) -> None:
    name = await new_product(shelf)
    before = await everything(shelf)

    def refuse(product: pb.Product) -> list[Message]:
        product.title = "spoilt"
        raise Aborted

    with pytest.raises(Aborted):
        await products.change(name, refuse, whole)
    assert await everything(shelf) == before


async def test_many_aggregates_change_in_one_commit(shelf: Shelf, products: Repository[pb.Product]) -> None:
    names = [await new_product(shelf) for _ in range(3)]
    loaded, batch = await products.load(names), Batch()
    for name in names:
        products.save(batch, name, loaded[name], longer(loaded[name].state))
    await products.commit(batch, pb.Product())
    assert [product.title for product in await products.batch_get(names[::-1])] == ["Mug+"] * 3


async def test_columns_follow_the_state_and_filter(shelf: Shelf, products: Repository[pb.Product]) -> None:
    title = new_name()
    names = sorted([await new_product(shelf, title) for _ in range(5)])
    first = await products.page(2, "", title=title)
    second = await products.page(2, first.next_page_token, title=title)
    third = await products.page(2, second.next_page_token, title=title)
    assert [product.name for page in (first, second, third) for product in page.items] == names
    assert third.next_page_token == ""
    await products.change(names[0], longer, whole)
    assert len((await products.page(10, "", title=title)).items) == 4
    assert (await products.page(5, "", title=f"{title}+")).next_page_token == ""


def test_events_are_found_by_their_names() -> None:
    event = pb.ProductUpdated(name="products/1", title="Mug")
    assert parse_event("mercato.catalog.v1.ProductUpdated", event.SerializeToString()) == event
    with pytest.raises(KeyError):
        parse_event("mercato.catalog.v1.Unheard", b"")
