"""Money in and out, exactly."""

from __future__ import annotations

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidArgument
from chassis.money import LARGEST_MINOR, common_currency, minor, money

AMOUNTS = st.integers(-LARGEST_MINOR, LARGEST_MINOR)


@given(AMOUNTS)
def test_minor_units_survive_the_wire(amount: int) -> None:
    sent = Money.FromString(money(amount, "GBP").SerializeToString())
    assert minor(sent) == amount
    assert sent.units * 10**9 + sent.nanos == amount * 10**7


@given(
    st.integers(-(10**13), 10**13) | st.integers(-(2**63), 2**63 - 1),
    st.integers(-100, 100).map(lambda minor_units: minor_units * 10**7) | st.integers(-(2**31), 2**31 - 1),
)
def test_what_is_taken_is_exact_and_the_rest_is_refused_by_name(units: int, nanos: int) -> None:
    amount = Money(currency_code="GBP", units=units, nanos=nanos)
    taken = 10**9 * units + nanos
    is_exact = nanos % 10**7 == 0 and abs(nanos) < 10**9 and units * nanos >= 0
    if is_exact and abs(taken) <= LARGEST_MINOR * 10**7:
        assert money(minor(amount, "price"), "GBP") == amount
    else:
        with pytest.raises(InvalidArgument, match=r"price\.(units|nanos)"):
            minor(amount, "price")


@pytest.mark.parametrize("code", ["", "GB", "GBPP", "gbp", "A1B", "ÄÖÜ", "€€€", "G P"])
def test_what_is_no_currency_is_refused(code: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        minor(Money(currency_code=code, units=1), "price")
    assert list(error.value.fields) == ["price.currency_code"]


def test_amounts_have_one_currency_together() -> None:
    pounds, euros = money(1, "GBP"), money(1, "EUR")
    assert common_currency([]) == ""
    assert common_currency([("a", pounds), ("b", pounds)]) == "GBP"
    with pytest.raises(InvalidArgument) as error:
        common_currency([("a", pounds), ("lines[1].price", euros)])
    assert list(error.value.fields) == ["lines[1].price.currency_code"]
