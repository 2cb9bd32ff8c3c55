"""States of notifications: none is needed yet."""

from __future__ import annotations

from typing import Any

from tests.shop import Shop


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""
    return {}
