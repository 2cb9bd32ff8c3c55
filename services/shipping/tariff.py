"""What carriage costs: by zone, and by parcels of so many pieces."""

from __future__ import annotations

from typing import NamedTuple

from google.type.money_pb2 import Money

from chassis.errors import FailedPrecondition, invalid_field
from chassis.money import money

CURRENCY = "GBP"
PIECES_A_PARCEL = 100


class Zone(NamedTuple):
    """Regions that cost the same to reach, in pence for the first and for every further parcel."""

    first_minor: int
    further_minor: int
    regions: str
    """Their ISO 3166-1 alpha-2 codes."""


HOME = Zone(495, 250, "GB GG IM JE")
EUROPEAN_UNION = Zone(1800, 900, "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK")
WORLD = Zone(
    4000,
    2500,
    """
    AD AE AF AG AI AL AM AO AQ AR AS AU AW AX AZ BA BB BD BF BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX DJ DM DO DZ EC EG EH ER ET FJ FK FM FO GA GD GE GF
    GH GI GL GM GN GP GQ GS GT GU GW GY HK HM HN HT ID IL IN IO IQ IR IS JM JO JP KE KG KH KI KM KN KP KR
    KW KY KZ LA LB LC LI LK LR LS LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MU MV MW MX MY MZ NA
    NC NE NF NG NI NO NP NR NU NZ OM PA PE PF PG PH PK PM PN PR PS PW PY QA RE RS RU RW SA SB SC SD SG SH
    SJ SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ
    VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """,
)
ZONES = {region: zone for zone in (HOME, EUROPEAN_UNION, WORLD) for region in zone.regions.split()}


class DestinationNotServed(FailedPrecondition):
    """No carrier of ours goes to {region_code}."""


def zone_of(region_code: str) -> Zone:
    """Return the zone of a region; DestinationNotServed when it has none."""
    if region_code not in ZONES:
        raise DestinationNotServed(region_code=region_code)
    return ZONES[region_code]


def quote(region_code: str, pieces: int, currency_code: str) -> Money:
    """Return what it costs to send so many pieces, one or more."""
    if currency_code != CURRENCY:
        raise invalid_field("currency_code", f"expected {CURRENCY}, the currency of our carriers")
    zone = zone_of(region_code)
    further = (pieces - 1) // PIECES_A_PARCEL
    return money(zone.first_minor + further * zone.further_minor, CURRENCY)
