"""The bulkhead."""

from __future__ import annotations

import pytest

from chassis.errors import ResourceExhausted
from chassis.resilience.bulkhead import Bulkhead, BulkheadFull


def test_it_holds_so_many_and_refuses_more_until_one_leaves() -> None:
    bulkhead = Bulkhead("catalog", 2)
    with bulkhead:
        with bulkhead, pytest.raises(BulkheadFull) as error, bulkhead:
            raise AssertionError
        assert bulkhead.in_flight == 1
        with bulkhead:
            assert bulkhead.in_flight == 2
    assert bulkhead.in_flight == 0
    assert error.value.data == {"limit": "2", "callee": "catalog"}


def test_a_call_that_was_not_made_is_to_be_made_later_and_unwinds_nothing() -> None:
    assert issubclass(BulkheadFull, ResourceExhausted)
    assert not BulkheadFull.definite


def test_it_is_left_by_an_error_too() -> None:
    bulkhead = Bulkhead("catalog", 1)
    with pytest.raises(ValueError), bulkhead:
        raise ValueError
    assert bulkhead.in_flight == 0
