"""Whether a new version of a service is worse than the one beside it: decided from what their servers counted.

Pure. Both are judged by one test: of the calls of each version some went wrong (failed, or were slow), and the new one
is worse when its share is larger by more than a margin and chance does not explain that. The test is Fisher's, exact,
within each step of the canary, and the steps' evidence is added up (an exact Cochran-Mantel-Haenszel test): what hits
both versions in one step, such as a database away, tells nothing against either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp, inf, lgamma

FAILURES = frozenset(
    {"UNAVAILABLE", "INTERNAL", "UNKNOWN", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "DATA_LOSS", "UNIMPLEMENTED"}
)
"""The codes that are a server's own fault, and not the answer to a wrong request."""

FAILURE_MARGIN = 0.01
"""A share of failures that is larger by less than this is no reason to go back."""
SLOW_MARGIN = 0.05
SLOW_FACTOR, SLOW_BY_S = 1.5, 0.010
"""Slow is what takes longer than the 95th percentile of the version beside it, so many times and by so many seconds."""
CHANCE = 0.001
"""How often a version that is as good may be held for worse, in each look."""
_QUANTILE = 0.95
_NEGLIGIBLE = 1e-15


@dataclass(frozen=True)
class Tally:
    """What a version served. `seconds` are the calls of each method by the upper bounds of what they took."""

    calls: int = 0
    failed: int = 0
    seconds: Mapping[str, Mapping[float, int]] = field(default_factory=dict)

    def __sub__(self, earlier: Tally) -> Tally:
        seconds = {
            method: {bound: count - earlier.seconds.get(method, {}).get(bound, 0) for bound, count in bounds.items()}
            for method, bounds in self.seconds.items()
        }
        return Tally(self.calls - earlier.calls, self.failed - earlier.failed, seconds)

    def __add__(self, other: Tally) -> Tally:
        methods = self.seconds.keys() | other.seconds.keys()
        seconds = {method: _added(self.seconds.get(method, {}), other.seconds.get(method, {})) for method in methods}
        return Tally(self.calls + other.calls, self.failed + other.failed, seconds)


@dataclass(frozen=True)
class Step:
    """What both versions served in one step."""

    new: Tally
    beside: Tally


@dataclass(frozen=True)
class Arms:
    """Of how many calls of each version how many went wrong."""

    new: int
    new_wrong: int
    beside: int
    beside_wrong: int


def worse(steps: Sequence[Step]) -> str:
    """Why the new version is worse than the one beside it; empty where nothing says so."""
    failed = [Arms(step.new.calls, step.new.failed, step.beside.calls, step.beside.failed) for step in steps]
    if _differs(failed, FAILURE_MARGIN):
        return f"{_share(failed)} of its calls fail, beside {_share_beside(failed)}"
    return _slower(steps)


def _slower(steps: Sequence[Step]) -> str:
    methods = sorted({method for step in steps for method in step.new.seconds.keys() & step.beside.seconds.keys()})
    arms: list[Arms] = []
    worst = ("", 0, 0.0)
    for method in methods:
        beside = [step.beside.seconds.get(method, {}) for step in steps]
        bound = _slow_bound(beside)
        of_method = [
            Arms(*_over(step.new.seconds.get(method, {}), bound), *_over(step.beside.seconds.get(method, {}), bound))
            for step in steps
        ]
        arms += of_method
        wrong = sum(each.new_wrong for each in of_method)
        worst = max(worst, (method, wrong, bound), key=lambda it: it[1])
    if not _differs(arms, SLOW_MARGIN):
        return ""
    method, _, bound = worst
    return (
        f"{_share(arms)} of its calls are slow, beside {_share_beside(arms)}: "
        f"most of {method.rpartition('/')[2]}, over {bound * 1000:.4g} ms"
    )


def _slow_bound(seconds: Iterable[Mapping[float, int]]) -> float:
    """The smallest bound that is at or over what slow is for calls which took this long."""
    total: dict[float, int] = {}
    for each in seconds:
        total = _added(total, each)
    usual = quantile(total, _QUANTILE)
    least = max(usual * SLOW_FACTOR, usual + SLOW_BY_S)
    return min((bound for bound in total if bound >= least), default=inf)


def quantile(counts: Mapping[float, int], part: float) -> float:
    """The value below which this part lies, taking values to be spread evenly between bounds; 0 where there is none."""
    left, lower = part * sum(counts.values()), 0.0
    for bound in sorted(counts):
        if counts[bound] and left <= counts[bound]:
            return lower if bound == inf else lower + (bound - lower) * left / counts[bound]
        left -= counts[bound]
        lower = bound
    return 0.0


def _over(counts: Mapping[float, int], bound: float) -> tuple[int, int]:
    """How many there are, and how many of them are over the bound."""
    return sum(counts.values()), sum(count for upper, count in counts.items() if upper > bound)


def _differs(arms: Sequence[Arms], margin: float) -> bool:
    new, wrong = sum(each.new for each in arms), sum(each.new_wrong for each in arms)
    beside, beside_wrong = sum(each.beside for each in arms), sum(each.beside_wrong for each in arms)
    if not new or not beside or wrong / new - beside_wrong / beside <= margin:
        return False
    return chance(arms) < CHANCE


def chance(strata: Sequence[Arms]) -> float:
    """How likely at least so many of the new one's calls go wrong where both are equally good, stratum by stratum."""
    observed = sum(arms.new_wrong for arms in strata)
    likely = {0: 1.0}  # by how many of the new one's went wrong in the strata so far
    for arms in strata:
        likely = _summed(likely, _hypergeometric(arms))
    return min(sum(p for wrong, p in likely.items() if wrong >= observed), 1.0)


def _hypergeometric(arms: Arms) -> dict[int, float]:
    """How likely each number of the wrong calls falls to the new one."""
    wrong, total = arms.new_wrong + arms.beside_wrong, arms.new + arms.beside
    ways = _log_ways(total, wrong)
    return {
        k: exp(_log_ways(arms.new, k) + _log_ways(arms.beside, wrong - k) - ways)
        for k in range(max(0, wrong - arms.beside), min(wrong, arms.new) + 1)
    }


def _summed(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """How likely each sum of the two is, but for what is next to impossible."""
    likely = [(k, p) for k, p in second.items() if p > _NEGLIGIBLE]
    sums: dict[int, float] = {}
    for i, p in first.items():
        if p > _NEGLIGIBLE:
            for j, q in likely:
                sums[i + j] = sums.get(i + j, 0.0) + p * q
    return sums


def _log_ways(of: int, choose: int) -> float:
    return lgamma(of + 1) - lgamma(choose + 1) - lgamma(of - choose + 1)


def _added(first: Mapping[float, int], second: Mapping[float, int]) -> dict[float, int]:
    return {bound: first.get(bound, 0) + second.get(bound, 0) for bound in first.keys() | second.keys()}


def _share(arms: Sequence[Arms]) -> str:
    return f"{sum(each.new_wrong for each in arms) / max(sum(each.new for each in arms), 1):.1%}"


def _share_beside(arms: Sequence[Arms]) -> str:
    return f"{sum(each.beside_wrong for each in arms) / max(sum(each.beside for each in arms), 1):.1%}"
