"""Whether a new version of a service is worse than the one beside it: decided from what their servers counted.

Pure. A canary is a row of looks, each at what both versions served in the same short time.

Failures are told apart from chance by Fisher's exact test within each look, the looks' evidence added up (an exact
Cochran-Mantel-Haenszel test): what hits both versions at once, such as a database away, tells nothing against either.
That a call is slow, though, is often no fault of its own: a process that was held up for a moment is slow for many. So
what counts is in how many of the looks more of the new version's calls were slow, by a sign test.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import comb, exp, inf, lgamma

from chassis.status import FAULTS

FAILURES = FAULTS | {"RESOURCE_EXHAUSTED"}
"""The codes that are a server's own fault, and not the answer to a wrong request.

Nor CANCELLED, by which a server knows a hedged call that lost, and a client that left or waited too long: that is seen
in how long calls take.
"""
MARGIN, SLOW_MARGIN = 0.01, 0.05
"""A share of failed or slow calls that is larger by no more than this is no reason to go back."""
SLOW_FACTOR, SLOW_BY_S = 1.5, 0.010
"""Slow is what takes so many times and by so much longer than 95 % of the calls to the version beside it."""
UNLUCKY = 0.3
"""In which part of the looks a version that is as good may be slower, by being held up."""
CHANCE = 0.0001
"""How often a version that is as good may be held for worse by chance, at each look."""
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
class Look:
    """What both versions served in the same time."""

    new: Tally
    beside: Tally


@dataclass(frozen=True)
class Arms:
    """Of how many calls of each version how many went wrong."""

    new: int
    new_wrong: int
    beside: int
    beside_wrong: int

    @property
    def more(self) -> float:
        """By how much the new one's share of them is larger; 0 where one has no calls."""
        return self.new_wrong / self.new - self.beside_wrong / self.beside if self.new and self.beside else 0.0

    def __add__(self, other: Arms) -> Arms:
        return Arms(
            self.new + other.new,
            self.new_wrong + other.new_wrong,
            self.beside + other.beside,
            self.beside_wrong + other.beside_wrong,
        )

    def __str__(self) -> str:
        new, beside = self.new_wrong / max(self.new, 1), self.beside_wrong / max(self.beside, 1)
        return f"{new:.1%} of its calls, beside {beside:.1%}"


def alone(new: Tally, before: Sequence[Look]) -> Look:
    """The look when the new version has all calls. Its failures are held against what was beside it before.

    Not how long its calls take: that follows the machine, which is another from one moment to the next.
    """
    earlier = [look.beside for look in before]
    calls, failed = sum(tally.calls for tally in earlier), sum(tally.failed for tally in earlier)
    return Look(Tally(new.calls, new.failed), Tally(calls, failed))


def worse(looks: Sequence[Look]) -> str:
    """Why the new version is worse than the one beside it; empty where nothing says so."""
    failed = [Arms(look.new.calls, look.new.failed, look.beside.calls, look.beside.failed) for look in looks]
    if sum(failed, Arms(0, 0, 0, 0)).more > MARGIN and chance(failed) < CHANCE:
        return f"fails {sum(failed, Arms(0, 0, 0, 0))}"
    return _slower(looks)


def _slower(looks: Sequence[Look]) -> str:
    bounds = {
        method: _slow_bound(look.beside.seconds.get(method, {}) for look in looks)
        for method in {method for look in looks for method in look.beside.seconds}
    }
    slow = [_slow(look, bounds) for look in looks]
    slower = sum(arms.more > SLOW_MARGIN for arms in slow)
    comparable = sum(bool(arms.new and arms.beside) for arms in slow)
    total = sum(slow, Arms(0, 0, 0, 0))
    if total.more <= SLOW_MARGIN or _lucky(slower, comparable) >= CHANCE:
        return ""
    return f"is slow in {total}, in {slower} of {comparable} looks"


def _slow(look: Look, bounds: Mapping[str, float]) -> Arms:
    """How many calls were slow, of those methods that both served."""
    return sum(
        (
            Arms(*_over(look.new.seconds[method], bounds[method]), *_over(look.beside.seconds[method], bounds[method]))
            for method in look.new.seconds.keys() & look.beside.seconds.keys()
        ),
        Arms(0, 0, 0, 0),
    )


def _lucky(slower: int, of: int) -> float:
    """How likely one that is as good is slower in at least so many of the looks."""
    return sum(comb(of, k) * UNLUCKY**k * (1 - UNLUCKY) ** (of - k) for k in range(slower, of + 1))


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
