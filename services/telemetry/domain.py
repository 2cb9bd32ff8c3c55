"""What is decided about a trace once it is quiet. Pure."""

from __future__ import annotations

from collections.abc import Collection

DECIDE_S = 10.0
"""Nothing more is to be expected of a trace that was quiet for so long."""
REASONS = ("error", "compensation", "slow")
"""Why a trace is kept for sure, the weightiest first."""
UNDECIDED, SAMPLED = "undecided", "sampled"
_RANDOM_BITS = 56
"""So many of a trace id are random (https://www.w3.org/TR/trace-context-2/#random-trace-id-flag)."""


def keep(trace_id: str, reasons: Collection[str], ratio: float) -> str:
    """Return why a trace is kept; empty when it is not. Of those without a reason a share is, the same ones always."""
    weightiest = next((reason for reason in REASONS if reason in reasons), "")
    if weightiest:
        return weightiest
    return SAMPLED if int(trace_id, 16) % (1 << _RANDOM_BITS) < ratio * (1 << _RANDOM_BITS) else ""
