"""What is decided: whether a trace is kept once it is quiet, and whose a method is. Pure."""

from __future__ import annotations

from collections.abc import Collection

DECIDE_S = 10.0
"""Nothing more is to be expected of a trace that was quiet for so long."""
REASONS = ("error", "compensation", "slow")
"""Why a trace is kept for sure, the weightiest first."""
SAMPLED = "sampled"
_SERVED_BY_ALL = "operations"
"""What the package of a service is called that every instance serves: it does not say who is asked."""
_RANDOM_BITS = 56
"""So many of a trace id are random (https://www.w3.org/TR/trace-context-2/#random-trace-id-flag)."""


def keep(trace_id: str, reasons: Collection[str], ratio: float) -> str:
    """Return why a trace is kept; empty when it is not. Of those without a reason a share is, the same ones always."""
    weightiest = next((reason for reason in REASONS if reason in reasons), "")
    if weightiest:
        return weightiest
    return SAMPLED if int(trace_id, 16) % (1 << _RANDOM_BITS) < ratio * (1 << _RANDOM_BITS) else ""


def service_of(name: str) -> str:
    """Return whose a method or a type of events is, the second part of its package; empty where that does not say."""
    package = name.split(".", 2)
    return package[1] if len(package) == 3 and package[0] == "mercato" and package[1] != _SERVED_BY_ALL else ""
