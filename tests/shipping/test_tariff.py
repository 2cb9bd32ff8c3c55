"""What carriage costs."""

from __future__ import annotations

import pytest

from chassis.errors import InvalidArgument
from chassis.money import money
from services.shipping.tariff import EUROPEAN_UNION, HOME, WORLD, ZONES, DestinationNotServed, quote, zone_of


@pytest.mark.parametrize(
    ("region_code", "pieces", "price_minor"),
    [
        ("GB", 1, 495),
        ("GB", 100, 495),
        ("GB", 101, 745),
        ("GB", 1000, 2745),
        ("DE", 1, 1800),
        ("IE", 250, 3600),
        ("US", 1, 4000),
        ("AU", 101, 6500),
        ("NZ", 1_000_000_000, 4000 + 9_999_999 * 2500),
    ],
)
def test_the_price_goes_by_zone_and_parcels(region_code: str, pieces: int, price_minor: int) -> None:
    assert quote(region_code, pieces, "GBP") == money(price_minor, "GBP")


def test_every_region_is_in_one_zone() -> None:
    listed = [region for zone in (HOME, EUROPEAN_UNION, WORLD) for region in zone.regions.split()]
    assert sorted(listed) == sorted(ZONES)
    assert len(listed) == 249  # all of ISO 3166-1
    assert len(EUROPEAN_UNION.regions.split()) == 27


@pytest.mark.parametrize("region_code", ["ZZ", "XX", "EU", "UK", ""])
def test_what_is_no_region_is_not_served(region_code: str) -> None:
    with pytest.raises(DestinationNotServed) as refused:
        zone_of(region_code)
    assert refused.value.data == {"region_code": region_code}


def test_only_pounds_are_quoted() -> None:
    with pytest.raises(InvalidArgument) as refused:
        quote("GB", 1, "EUR")
    assert list(refused.value.fields) == ["currency_code"]
