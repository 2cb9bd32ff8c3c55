"""Rates and quantiles, out of what counters and histograms grew by. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from math import inf

from mercato.telemetry.v1.telemetry_pb2 import Rates

from chassis.status import FAULTS

OK = "OK"


class Tally:
    """Calls of one kind over a window."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._buckets: Counter[float] = Counter()

    def add(self, status: str, calls_per_second: float, buckets: Mapping[float, int]) -> None:
        """Add calls that ended with a code of gRPC, or a status of HTTP."""
        self._rates.calls_per_second += calls_per_second
        if is_fault(status):
            self._rates.faults_per_second += calls_per_second
        elif is_refusal(status):
            self._rates.refusals_per_second += calls_per_second
        self._buckets.update(buckets)

    def rates(self) -> Rates:
        """Return how it goes."""
        self._rates.p50_s, self._rates.p99_s = quantile(self._buckets, 0.5), quantile(self._buckets, 0.99)
        return self._rates


def is_fault(status: str) -> bool:
    """Whether a call failed by a fault of the server."""
    return status in FAULTS or _http(status) >= 500


def is_refusal(status: str) -> bool:
    """Whether a call failed otherwise."""
    return not is_fault(status) and status != OK and not 0 < _http(status) < 400


def by_bound(bounds: Iterable[float], buckets: Iterable[int]) -> dict[float, int]:
    """Return how many values are in each bucket, by its upper bound."""
    return dict(zip((*bounds, inf), buckets, strict=True))


def quantile(buckets: Mapping[float, int], share: float) -> float:
    """Return what that share of values is at most; within a bucket they are taken to be spread evenly.

    Of the last bucket, which has no end, its beginning; 0 without values.
    """
    left, lower = share * sum(buckets.values()), 0.0
    if not left:
        return 0.0
    for bound in sorted(buckets):
        if left <= buckets[bound]:
            return lower if bound == inf else lower + (bound - lower) * left / buckets[bound]
        left -= buckets[bound]
        lower = bound
    return lower


def _http(status: str) -> int:
    """Return a status of HTTP as a number; 0 for what is none."""
    return int(status) if len(status) == 3 and status.isascii() and status.isdigit() else 0
