"""Postal addresses: `google.type.PostalAddress`, held against what a label can take."""

from __future__ import annotations

import re

from google.type.postal_address_pb2 import PostalAddress

from chassis.errors import invalid_field

MOST_LINES = 10
LONGEST_LINE = 200
_REGION = re.compile("[A-Z]{2}")


def check_address(address: PostalAddress, field: str = "address") -> None:
    """Hold an address against the form of one; InvalidArgument names what in `field` is wrong."""
    if not _REGION.fullmatch(address.region_code):
        raise invalid_field(f"{field}.region_code", "expected two capital letters (ISO 3166-1 alpha-2)")
    for part, value in address.ListFields():
        lines = [value] if isinstance(value, (str, int)) else value
        if len(lines) > MOST_LINES or any(len(str(line)) > LONGEST_LINE for line in lines):
            expected = f"expected at most {MOST_LINES} lines of at most {LONGEST_LINE} characters"
            raise invalid_field(f"{field}.{part.name}", expected)
