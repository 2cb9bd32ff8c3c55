"""Exact money: `google.type.Money` outside, whole minor units (pence, cents) inside."""

from __future__ import annotations

import re
from collections.abc import Iterable

from google.type.money_pb2 import Money

from chassis.errors import invalid_field

NANOS_PER_MINOR = 10_000_000
LARGEST_MINOR = 10**15
"""No single amount may be larger: ten million millions, far from the limits of 64 bits even when many add up."""
_CURRENCY = re.compile("[A-Z]{3}")


def minor(amount: Money, field: str = "amount") -> int:
    """Return an amount in minor units; InvalidArgument names `field` when it is not a whole number of them."""
    if not _CURRENCY.fullmatch(amount.currency_code):
        raise invalid_field(f"{field}.currency_code", "expected three capital letters (ISO 4217)")
    if amount.nanos % NANOS_PER_MINOR:
        raise invalid_field(f"{field}.nanos", f"expected whole minor units, a multiple of {NANOS_PER_MINOR}")
    if abs(amount.nanos) >= 1_000_000_000 or amount.nanos * amount.units < 0:
        raise invalid_field(f"{field}.nanos", "expected less than one unit, with the sign of units")
    result: int = amount.units * 100 + amount.nanos // NANOS_PER_MINOR
    if abs(result) > LARGEST_MINOR:
        raise invalid_field(f"{field}.units", f"expected at most {LARGEST_MINOR // 100}")
    return result


def money(minor_units: int, currency: str) -> Money:
    """Return minor units as Money."""
    sign = -1 if minor_units < 0 else 1
    units, rest = divmod(abs(minor_units), 100)
    return Money(currency_code=currency, units=sign * units, nanos=sign * rest * NANOS_PER_MINOR)


def plain(amount: Money) -> str:
    """Return an amount as a person reads it: `12.34 GBP`."""
    amount_minor = minor(amount)
    sign, (units, rest) = "-" if amount_minor < 0 else "", divmod(abs(amount_minor), 100)
    return f"{sign}{units}.{rest:02} {amount.currency_code}"


def common_currency(amounts: Iterable[tuple[str, Money]]) -> str:
    """Return the one currency of (field, amount) pairs; InvalidArgument names the first field that differs."""
    currency = ""
    for field, amount in amounts:
        if currency and amount.currency_code != currency:
            raise invalid_field(f"{field}.currency_code", f"expected {currency}, the currency of the others")
        currency = amount.currency_code
    return currency
