"""CatalogService over real gRPC, with a real database."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from mercato.catalog.v1.catalog_pb2 import (
    DESCRIPTOR,
    BatchGetProductsRequest,
    CreateProductRequest,
    GetProductRequest,
    ImportProductsRequest,
    ImportProductsResponse,
    ListProductsRequest,
    OfferPriceRequest,
    Price,
    Product,
    SearchProductsRequest,
    UpdateProductRequest,
    WithdrawPriceRequest,
)
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from chassis.errors import Aborted, AlreadyExists, InvalidArgument, NotFound
from chassis.money import money
from chassis.repository import Repository
from services.catalog.domain import evolve
from services.catalog.search import terms
from tests.stage import Stage


@pytest.fixture(scope="module")
async def catalog(stage: Stage) -> CatalogServiceStub:
    await stage.start("catalog")
    return stage.stub(DESCRIPTOR.services_by_name["CatalogService"], CatalogServiceStub)


def new_id() -> str:
    return str(uuid4())


def new_name() -> str:
    return f"products/{uuid4().hex}"


def price(amount_minor: int) -> Price:
    return Price(amount=money(amount_minor, "GBP"))


def a_product(*amounts_minor: int, title: str = "A thing", name: str = "") -> Product:
    return Product(name=name or new_name(), title=title, prices=map(price, amounts_minor))


async def create(catalog: CatalogServiceStub, product: Product) -> Product:
    return (await catalog.CreateProduct(CreateProductRequest(request_id=new_id(), product=product))).product


async def get(catalog: CatalogServiceStub, name: str) -> Product:
    return (await catalog.GetProduct(GetProductRequest(name=name))).product


async def import_(catalog: CatalogServiceStub, products: Iterable[Product]) -> tuple[int, int, int]:
    async def requests() -> AsyncIterator[ImportProductsRequest]:
        for product in products:
            yield ImportProductsRequest(product=product)

    response: ImportProductsResponse = await catalog.ImportProducts(requests())
    return response.created_count, response.updated_count, response.unchanged_count


async def search(catalog: CatalogServiceStub, prefix: str, page_size: int = 1000) -> list[str]:
    """The names of all products found, page after page."""
    names: list[str] = []
    token = ""
    while True:
        page = await catalog.SearchProducts(SearchProductsRequest(prefix=prefix, page_size=page_size, page_token=token))
        assert len(page.products) <= page_size
        names += [product.name for product in page.products]
        token = page.next_page_token
        if not token:
            return names


async def test_a_product_is_kept(catalog: CatalogServiceStub) -> None:
    product = await create(catalog, a_product(255, 295))
    assert product.etag == "1"
    assert [each.amount for each in product.prices] == [money(255, "GBP"), money(295, "GBP")]
    assert all(each.start_time == product.create_time for each in product.prices)
    assert await get(catalog, product.name) == product


async def test_a_repeated_request_gets_the_same_answer(catalog: CatalogServiceStub) -> None:
    creation = CreateProductRequest(request_id=new_id(), product=a_product(255))
    created = await catalog.CreateProduct(creation)
    offering = OfferPriceRequest(request_id=new_id(), name=created.product.name, amount=money(295, "GBP"))
    offers = await asyncio.gather(*(catalog.OfferPrice(offering) for _ in range(10)))
    assert offers == [offers[0]] * 10
    withdrawing = WithdrawPriceRequest(request_id=new_id(), name=created.product.name, amount=money(295, "GBP"))
    withdrawn = await catalog.WithdrawPrice(withdrawing)
    assert await catalog.WithdrawPrice(withdrawing) == withdrawn
    assert await catalog.OfferPrice(offering) == offers[0]
    assert await catalog.CreateProduct(creation) == created
    assert len((await get(catalog, created.product.name)).prices) == 2


async def test_a_request_id_serves_one_request(catalog: CatalogServiceStub) -> None:
    request = CreateProductRequest(request_id=new_id(), product=a_product())
    await catalog.CreateProduct(request)
    request.product.title = "Another thing"
    with pytest.raises(InvalidArgument) as reused:
        await catalog.CreateProduct(request)
    assert "request_id" in reused.value.fields


async def test_a_name_is_given_once(catalog: CatalogServiceStub) -> None:
    product = await create(catalog, a_product())
    with pytest.raises(AlreadyExists):
        await create(catalog, a_product(name=product.name))


async def test_many_are_read_in_the_order_asked(catalog: CatalogServiceStub) -> None:
    names = [(await create(catalog, a_product())).name for _ in range(5)]
    names = [names[index] for index in (3, 1, 4, 0, 2)]
    many = await catalog.BatchGetProducts(BatchGetProductsRequest(names=names))
    assert [product.name for product in many.products] == names
    with pytest.raises(NotFound) as missing:
        await catalog.BatchGetProducts(BatchGetProductsRequest(names=[names[0], "products/none", "products/no"]))
    assert missing.value.data == {"name": "products/none"}


async def test_a_title_is_changed_and_found_under_its_new_words_only(catalog: CatalogServiceStub) -> None:
    before = await create(catalog, a_product(255, title="Oldword lamp"))
    update = UpdateProductRequest(
        request_id=new_id(),
        product=Product(name=before.name, title="Newword lamp", etag="1"),
        update_mask=FieldMask(paths=["title"]),
    )
    after = (await catalog.UpdateProduct(update)).product
    assert (after.title, after.prices, after.etag) == ("Newword lamp", before.prices, "2")
    assert await search(catalog, "newword") == [before.name]
    assert await search(catalog, "oldword") == []
    update.request_id = new_id()
    with pytest.raises(Aborted) as old:
        await catalog.UpdateProduct(update)
    assert old.value.reason == "ETAG_MISMATCH"


async def test_prices_are_not_changed_by_mask(catalog: CatalogServiceStub) -> None:
    product = await create(catalog, a_product())
    with pytest.raises(InvalidArgument) as refused:
        await catalog.UpdateProduct(
            UpdateProductRequest(request_id=new_id(), product=product, update_mask=FieldMask(paths=["prices"]))
        )
    assert refused.value.fields == {"update_mask": "expected one or more of title"}


async def test_prices_tell_why_they_are_refused(catalog: CatalogServiceStub) -> None:
    name = (await create(catalog, a_product(255))).name
    with pytest.raises(AlreadyExists) as on_offer:
        await catalog.OfferPrice(OfferPriceRequest(request_id=new_id(), name=name, amount=money(255, "GBP")))
    assert on_offer.value.data == {"name": name, "amount": "2.55 GBP"}
    with pytest.raises(NotFound) as not_on_offer:
        await catalog.WithdrawPrice(WithdrawPriceRequest(request_id=new_id(), name=name, amount=money(1, "GBP")))
    assert not_on_offer.value.reason == "PRICE_NOT_ON_OFFER"
    with pytest.raises(NotFound):
        await catalog.OfferPrice(OfferPriceRequest(request_id=new_id(), name=new_name(), amount=money(1, "GBP")))
    with pytest.raises(InvalidArgument) as negative:
        await catalog.OfferPrice(OfferPriceRequest(request_id=new_id(), name=name, amount=money(-100, "GBP")))
    assert list(negative.value.fields) == ["amount.units"]
    late = Price(amount=money(1, "GBP"), start_time=Timestamp(seconds=2**62))
    with pytest.raises(InvalidArgument) as no_time:
        await create(catalog, Product(name=new_name(), title="A thing", prices=[late]))
    assert list(no_time.value.fields) == ["product.prices[0].start_time"]


async def test_search_finds_by_the_start_of_the_title_or_of_a_word(catalog: CatalogServiceStub) -> None:
    heart = (await create(catalog, a_product(title="ZWHITE Hanging  Heart T-LIGHT Holder"))).name
    tricky = (await create(catalog, a_product(title="100% zwool_rug 'x' \\ (Äpfel) STRASSE"))).name
    found = {
        "zwhite": heart,
        "Zwhite hanging heart": heart,
        "zwhite hanging ": heart,
        "HEAR": heart,
        "t-l": heart,
        "light": heart,
        "100%": tricky,
        "100% zwool_": tricky,
        "'x'": tricky,
        "\\": tricky,
        "(ä": tricky,
        "äpf": tricky,
        "straß": tricky,
    }
    for prefix, name in found.items():
        assert name in await search(catalog, prefix), prefix
    for prefix in ("eart", "hanging heart", "%", "_", "zwool%", "zwool__", "zwhite  hearts", "x' | 'zwhite", ":*"):
        assert not {heart, tricky} & set(await search(catalog, prefix)), prefix
    with pytest.raises(InvalidArgument) as blank:
        await search(catalog, " \t")
    assert list(blank.value.fields) == ["prefix"]


async def test_pages_lead_through_all(catalog: CatalogServiceStub) -> None:
    names = sorted([(await create(catalog, a_product(title=f"Pageable {n}"))).name for n in range(7)])
    assert await search(catalog, "pageable", page_size=3) == names
    assert await search(catalog, "pageable", page_size=7) == names
    listed: list[str] = []
    token = ""
    while True:
        page = await catalog.ListProducts(ListProductsRequest(page_size=4, page_token=token))
        listed += [product.name for product in page.products]
        token = page.next_page_token
        if not token:
            break
    assert listed == sorted(set(listed))
    assert set(names) <= set(listed)


async def test_an_import_brings_in_what_is_new_and_a_second_changes_nothing(catalog: CatalogServiceStub) -> None:
    run = uuid4().hex[:8]
    products = [a_product(255, 295, title=f"Import {number}", name=f"products/{run}-{number}") for number in range(450)]
    assert await import_(catalog, products) == (450, 0, 0)
    assert await import_(catalog, products) == (0, 0, 450)
    products[7].prices.append(price(199))
    products[449].title = "Imported anew"
    assert await import_(catalog, products) == (0, 2, 448)
    changed = await get(catalog, products[7].name)
    assert [each.amount for each in changed.prices] == [money(amount, "GBP") for amount in (199, 255, 295)]
    assert products[449].name in await search(catalog, "imported anew")


async def test_an_import_takes_duplicates_one_after_the_other(catalog: CatalogServiceStub) -> None:
    name = new_name()
    stream = [
        a_product(255, title="First", name=name),
        a_product(255),
        a_product(295, title="Second", name=name),
        a_product(295, title="Second", name=name),
    ]
    assert await import_(catalog, stream) == (2, 1, 1)
    product = await get(catalog, name)
    assert product.title == "Second"
    assert [each.amount for each in product.prices] == [money(295, "GBP"), money(255, "GBP")]


async def test_imports_at_once_bring_each_product_in_once(catalog: CatalogServiceStub) -> None:
    products, chance = [a_product(255) for _ in range(200)], random.Random(1)
    counts = await asyncio.gather(*(import_(catalog, chance.sample(products, 200)) for _ in range(8)))
    assert sum(created for created, _, _ in counts) == 200
    assert sum(unchanged for _, _, unchanged in counts) == 1400
    assert (await get(catalog, products[0].name)).etag == "1"


async def test_a_bad_message_in_an_import_is_named(catalog: CatalogServiceStub) -> None:
    bad_price = a_product(255, -1)
    no_title = a_product(255, title="")
    for bad, field in ((bad_price, "product.prices[1].amount.units"), (no_title, "product.title")):
        with pytest.raises(InvalidArgument, match=r"^message 3: ") as refused:
            await import_(catalog, [a_product(), a_product(), bad, a_product()])
        assert list(refused.value.fields) == [field]
        with pytest.raises(NotFound):
            await get(catalog, bad.name)


async def test_an_import_of_thousands_takes_a_moment(catalog: CatalogServiceStub) -> None:
    products = [a_product(255, 295, title=f"Bulk heart holder {number}") for number in range(3000)]
    started = time.monotonic()
    assert await import_(catalog, products) == (3000, 0, 0)
    assert time.monotonic() - started < 10  # about 1.5 s when nothing else runs


async def test_an_empty_import_is_fine(catalog: CatalogServiceStub) -> None:
    assert await import_(catalog, []) == (0, 0, 0)


async def test_events_alone_make_the_same_product(catalog: CatalogServiceStub, stage: Stage) -> None:
    name = (await create(catalog, a_product(255))).name
    await catalog.OfferPrice(OfferPriceRequest(request_id=new_id(), name=name, amount=money(295, "GBP")))
    await catalog.WithdrawPrice(WithdrawPriceRequest(request_id=new_id(), name=name, amount=money(255, "GBP")))
    await import_(catalog, [a_product(199, title="Changed", name=name)])
    app = stage.apps["catalog"]
    repository = Repository(
        app.database, app.outbox, app.clock,
        table="products", state=Product, evolve=evolve, columns={"terms": terms},
    )  # fmt: skip
    stored = await repository.get(name)
    assert stored.etag == "5"
    assert await repository.rebuild(name) == stored
