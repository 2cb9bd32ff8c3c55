"""How well objectives are met: calls counted by the minute as their callers see them, and what is left of the budgets.

A service that is dead counts nothing itself; those who call it do. The alerts are made of the same metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from math import inf
from typing import NamedTuple

from mercato.telemetry.v1.telemetry_pb2 import ObjectiveStatus

from chassis.clock import Clock
from chassis.database import Batch, Database
from chassis.policy import Objective
from chassis.telemetry.rpc import CONSOLE
from services.telemetry.counted import Counted, Key
from services.telemetry.domain import service_of
from services.telemetry.intake import Signal
from services.telemetry.live import Growth
from services.telemetry.otlp import Sender
from services.telemetry.points import Kind, Reading
from services.telemetry.rates import is_fault
from services.telemetry.traffic import CALLED, CALLER, METHOD, STATUS

WINDOWS = tuple(timedelta(**of) for of in ({"days": 30}, {"minutes": 5}, {"hours": 1}, {"hours": 6}, {"days": 3}))
"""Over how long an objective is to be met, and over how long it is seen how fast its budget is spent."""
MOST_COUNTS = 100_000
"""Counts that wait in memory while the database is away; more are dropped."""
TOGETHER = timedelta(seconds=10)
"""What began so long before us at most began with us: nobody counted before."""

_ADD = """
INSERT INTO calls_by_minute AS known VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (minute, method) DO UPDATE
SET calls = known.calls + EXCLUDED.calls, faults = known.faults + EXCLUDED.faults, slow = known.slow + EXCLUDED.slow
"""
_SUMS = ", ".join(
    f"coalesce(sum({what}) FILTER (WHERE minute > ${number}), 0)::bigint"
    for number in range(1, len(WINDOWS) + 1)
    for what in ("calls", "faults", "slow")
)


class Counts(NamedTuple):
    """Calls over a window, and how many of them were bad in which way."""

    calls: int
    faults: int
    slow: int


class Objectives:
    """The objectives of methods, by `package.Service/Method`, and the calls that were counted."""

    def __init__(self, database: Database, signal: Signal, objectives: Mapping[str, Objective], clock: Clock) -> None:
        self._database = database
        self._signal = signal
        self._objectives = objectives
        self._clock = clock
        self._waiting: Counter[tuple[float, str, str]] = Counter()
        self._counted = Counted(database)
        self._noted: set[Key] = set()

    async def load(self) -> float:
        """Load how far calls were counted before; return until when all were, in seconds since 1970."""
        return (await self._counted.load(self._clock.now() - TOGETHER)).timestamp()

    def counted(self, sender: Sender, reading: Reading) -> Reading | None:
        """Return how far calls were counted before; None where that is not known."""
        return self._counted.of(sender, reading) if self._objective(reading) else None

    def count(self, sender: Sender, reading: Reading, growth: Growth, now_s: float) -> None:
        """Count the calls that a series grew by, if it is one of calls."""
        objective, told = self._objective(reading), dict(reading.attributes)
        if objective is None:
            return
        if len(self._waiting) >= MOST_COUNTS:
            self._signal.drop("full", 1)
            return
        if key := self._counted.note(sender, reading, now_s):
            self._noted.add(key)
        of_minute = now_s // 60 * 60, told[METHOD]
        calls = round(growth.value)
        self._waiting[*of_minute, "calls"] += calls
        self._waiting[*of_minute, "faults"] += calls if is_fault(told.get(STATUS, "")) else 0
        self._waiting[*of_minute, "slow"] += slower(objective, reading.bounds, growth.buckets)

    async def write(self) -> None:
        """Store what was counted, and how far; where that fails, it stays to be stored."""
        waiting, self._waiting = self._waiting, Counter()
        noted, self._noted = self._noted, set()
        counts = [_addition(waiting, *key) for key in {key[:2] for key in waiting}]
        try:
            await self._database.commit_all(counts + [self._counted.change(key) for key in noted])
        except BaseException:
            self._waiting.update(waiting)
            self._noted |= noted
            raise

    async def list(self, service: str) -> list[ObjectiveStatus]:
        """Return how well the objectives of the methods that were called are met, the worst first."""
        now = self._clock.now()
        rows = await self._database.rows(
            f"SELECT method, {_SUMS} FROM calls_by_minute WHERE minute > $1 GROUP BY method",  # noqa: S608
            *(now - window for window in WINDOWS),
        )
        found = [
            status
            for method, *sums in rows
            if method in self._objectives and service in ("", service_of(method))
            for status in statuses(method, self._objectives[method], [Counts(*sums[at : at + 3]) for at in _STARTS])
        ]
        return sorted(found, key=lambda status: (status.budget_left, status.method, status.kind))

    async def expire(self) -> None:
        """Delete what no window reaches."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM calls_by_minute WHERE minute < $1", self._clock.now() - WINDOWS[0])
        await self._counted.expire(self._clock.now())

    def _objective(self, reading: Reading) -> Objective | None:
        """Return the objective of the calls that are read; None where it is of none, or of who only looks on."""
        told = dict(reading.attributes)
        counts = reading.metric == CALLED and reading.kind is Kind.HISTOGRAM and told.get(CALLER) != CONSOLE
        return self._objectives.get(told.get(METHOD, "")) if counts else None


def slower(objective: Objective, bounds: Sequence[float], buckets: Sequence[int]) -> int:
    """Return how many calls took longer than an objective allows, as far as the bounds of a histogram tell."""
    latency_s = objective.latency_s or inf
    return sum(count for bound, count in zip((*bounds, inf), buckets, strict=True) if bound > latency_s * 1.000001)


def statuses(method: str, objective: Objective, counts: Sequence[Counts]) -> Iterator[ObjectiveStatus]:
    """Yield how well the objectives of a method are met, by what was counted over each of the windows."""
    kinds = [(ObjectiveStatus.KIND_AVAILABILITY, objective.availability, [of.faults for of in counts])]
    if objective.latency_s is not None:
        kinds.append((ObjectiveStatus.KIND_LATENCY, objective.latency_share, [of.slow for of in counts]))
    for kind, target, bad in kinds:
        spent = [_spent(of.calls, bad_calls, target) for of, bad_calls in zip(counts, bad, strict=True)]
        status = ObjectiveStatus(
            service=service_of(method),
            method=method,
            kind=kind,
            target_percent=round(target * 100, 6),
            calls=counts[0].calls,
            bad_calls=bad[0],
            budget_left=1 - spent[0],
        )
        status.window.FromTimedelta(WINDOWS[0])
        if kind == ObjectiveStatus.KIND_LATENCY:
            status.latency.FromTimedelta(timedelta(seconds=objective.latency_s or 0))
        for window, rate in zip(WINDOWS[1:], spent[1:], strict=True):
            status.burn_rates.add(rate=rate).window.FromTimedelta(window)
        yield status


_STARTS = range(0, 3 * len(WINDOWS), 3)


def _spent(calls: int, bad_calls: int, target: float) -> float:
    """Return how many bad calls there were for each one that was allowed."""
    return bad_calls / (calls * (1 - target)) if calls and target < 1 else float(bad_calls)


def _addition(counted: Counter[tuple[float, str, str]], minute_s: float, method: str) -> Batch:
    batch = Batch()
    minute = datetime.fromtimestamp(minute_s, UTC)
    batch.add(_ADD, minute, method, *(counted[minute_s, method, what] for what in Counts._fields))
    return batch
