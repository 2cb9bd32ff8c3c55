"""What can go wrong with a fleet, said so that a person can act on it."""

from __future__ import annotations


class FleetError(Exception):
    """The message says what is wrong and what was expected."""
