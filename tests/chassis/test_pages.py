"""Pages and their tokens."""

from __future__ import annotations

import pytest
from mercato.catalog.v1.catalog_pb2 import Product

from chassis.errors import InvalidArgument
from chassis.pages import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE, MAX_PAGE_BYTES, Page, page_limit, position_of


def test_a_size_has_a_default_and_a_limit() -> None:
    assert [page_limit(size) for size in (0, 1, LARGEST_PAGE_SIZE, 10**9)] == [
        DEFAULT_PAGE_SIZE, 1, LARGEST_PAGE_SIZE, LARGEST_PAGE_SIZE
    ]  # fmt: skip


def test_a_token_that_ends_with_a_number_gives_it() -> None:
    assert [position_of(token) for token in ("", "7", "stocks/1/movements/42")] == [0, 7, 42]


@pytest.mark.parametrize("token", ["x", "movements/-1", "movements/²", "9" * 19, "1 "])
def test_another_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        position_of(token)
    assert list(error.value.fields) == ["page_token"]


def products(count: int, title: str = "") -> list[Product]:
    return [Product(name=str(number), title=title) for number in range(1, count + 1)]


def name(product: Product) -> str:
    return product.name


@pytest.mark.parametrize(("count", "token"), [(0, ""), (2, ""), (3, ""), (4, "3")])
def test_there_is_a_next_page_when_there_is_one_item_more(count: int, token: str) -> None:
    assert Page.of(products(count), 3, name) == Page(products(min(count, 3)), token)


def test_a_page_ends_early_when_it_would_be_too_large_but_never_before_its_first_item() -> None:
    large = products(3, "x" * (MAX_PAGE_BYTES // 2))
    assert Page.of(large, 100, name) == Page(large[:1], "1")
    huge = products(2, "x" * (MAX_PAGE_BYTES + 1))
    assert Page.of(huge, 100, name) == Page(huge[:1], "1")
    assert Page.of(huge[:1], 100, name) == Page(huge[:1], "")
