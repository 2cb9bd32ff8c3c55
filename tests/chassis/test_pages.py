"""Pages and their tokens."""

from __future__ import annotations

import pytest

from chassis.errors import InvalidArgument
from chassis.pages import DEFAULT_PAGE_SIZE, LARGEST_PAGE_SIZE, Page, page_limit, position_of


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


@pytest.mark.parametrize(("count", "token"), [(0, ""), (2, ""), (3, ""), (4, "3")])
def test_there_is_a_next_page_when_there_is_one_item_more(count: int, token: str) -> None:
    page = Page.of(list(range(1, count + 1)), 3, str)
    assert page == Page(list(range(1, min(count, 3) + 1)), token)
