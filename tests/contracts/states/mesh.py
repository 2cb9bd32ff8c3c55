"""States of the mesh: none but the first, in which nobody registered and no policy was set."""

from __future__ import annotations

from typing import Any

from tests.shop import Shop


def states(shop: Shop) -> dict[str, Any]:
    """Return what brings about each state."""
    return {}
