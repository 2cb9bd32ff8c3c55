"""Metastable failure, shown and beaten: whether a service comes back by itself once too much load is gone.

A server with a fixed piece of work a call gets calls at 60 % of its measured peak, for some seconds at twice the peak,
and at 60 % again. Once with no limit and clients that try again at once; once with the chassis' limit and a retry
budget. Calls arrive by chance, seeded, whatever becomes of those before them (an open loop). The term, and how retries
sustain such a failure: Bronson, Aghayev, Charapko, Zhu, "Metastable Failures in Distributed Systems", HotOS 2021.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from grpc.aio import AioRpcError
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from chassis.resilience.deadline import Deadline
from chassis.resilience.retries import Retries
from chassis.resilience.retry_budget import RetryBudget
from loadtest.chart import Chart, Curve
from loadtest.processes import connected, serving

BASE, OVERLOAD = 0.6, 2.0
"""Of the measured peak."""
BEFORE_S, OVERLOAD_S, AFTER_S = 3.0, 5.0, 10.0
BIN_S = 0.25
ATTEMPTS, ATTEMPT_TIMEOUT_S = 5, 1.0
SETTLED_S = 1.0
"""The limit has found its place, and what is measured of the overload begins."""
_PEAK_TRIALS, _PEAK_TRIAL_S, _PEAK_IN_FLIGHT = 5, 0.5, 8
_REQUEST = GetProductRequest(name="products/85123A")
_SEED = 2021
_STYLES = {"naive": "bad", "protected": "good"}

Client = Callable[[], Awaitable[bool]]
"""Makes one call with all its attempts; whether it was answered."""


@dataclass(frozen=True, slots=True)
class Run:
    """What became of the calls of one way to behave, by bins of BIN_S seconds; rates are calls a second."""

    name: str
    peak: float
    offered: Sequence[float]
    goodput: Sequence[float]
    attempts: Sequence[float]
    """What reaches the server, retries too."""

    @property
    def goodput_in_overload(self) -> float:
        """The mean while the load is twice the peak, over the peak."""
        return self._mean(BEFORE_S + SETTLED_S, BEFORE_S + OVERLOAD_S) / self.peak

    @property
    def goodput_after(self) -> float:
        """The mean of the last seconds, over what was asked then."""
        end = BEFORE_S + OVERLOAD_S + AFTER_S
        return self._mean(end - 3, end) / (BASE * self.peak)

    @property
    def recovery_s(self) -> float | None:
        """How long after the overload nearly all is answered again, for a second at least; None: never."""
        start = BEFORE_S + OVERLOAD_S
        moments = [start + number * BIN_S for number in range(int((AFTER_S - 1) / BIN_S) + 1)]
        well = 0.85 * BASE * self.peak
        return next((moment - start for moment in moments if self._mean(moment, moment + 1) >= well), None)

    def _mean(self, start: float, end: float) -> float:
        bins = self.goodput[int(start / BIN_S) : int(end / BIN_S)]
        return sum(bins) / len(bins)


async def measure() -> list[Run]:
    """Show both, one after the other; it takes about 45 s."""
    peak = await _peak()
    return [await naive(peak), await protected(peak)]


def draw(runs: Sequence[Run]) -> str:
    """Draw the goodput of both, in percent of the peak, beside the load; returns an SVG."""

    def points(rates: Sequence[float], peak: float) -> list[tuple[float, float]]:
        """Return the means of half a second around each bin: chance makes single bins jump."""
        windows = (rates[max(0, number - 2) : number + 3] for number in range(len(rates)))
        means = (sum(window) / len(window) for window in windows)
        return [((number + 0.5) * BIN_S, mean / peak * 100) for number, mean in enumerate(means)]

    load = Curve("asked", "load", points(runs[0].offered, runs[0].peak))
    curves = [Curve(run.name, _STYLES[run.name], points(run.goodput, run.peak)) for run in runs]
    return Chart(
        "Twice the load a service can bear, for five seconds",
        "Calls answered in time, in percent of the measured peak",
        [load, *curves],
        (BEFORE_S, BEFORE_S + OVERLOAD_S),
        "overload",
        BEFORE_S + OVERLOAD_S + AFTER_S,
        225,
    ).svg()


async def naive(peak: float) -> Run:
    """A server with no limit; clients try again at once, whatever happened, up to four times."""

    def client(stub: CatalogServiceStub, made: Callable[[], None]) -> Client:
        async def call() -> bool:
            for _ in range(ATTEMPTS):
                made()
                try:
                    await stub.GetProduct(_REQUEST, timeout=ATTEMPT_TIMEOUT_S)
                    return True
                except AioRpcError:
                    continue
            return False

        return call

    return await _run("naive", "unlimited", peak, client)


async def protected(peak: float) -> Run:
    """The adaptive limit; clients as patient, with a retry budget, that come again when they are told to."""

    def client(stub: CatalogServiceStub, made: Callable[[], None]) -> Client:
        budget = RetryBudget()
        retries = Retries(budget, jitter=lambda: chance.uniform(-1, 1))
        chance = random.Random(_SEED)

        async def call() -> bool:
            budget.count_call()
            deadline, attempt = Deadline(ATTEMPTS * ATTEMPT_TIMEOUT_S), 0
            while True:
                made()
                attempt += 1
                try:
                    await stub.GetProduct(_REQUEST, timeout=min(ATTEMPT_TIMEOUT_S, deadline.left_s()))
                    return True
                except AioRpcError as error:
                    if not await retries.again(error, attempt, deadline):
                        return False

        return call

    return await _run("protected", "limited", peak, client)


async def _run(
    name: str, server: str, peak: float, client: Callable[[CatalogServiceStub, Callable[[], None]], Client]
) -> Run:
    with serving("loadtest.busy", server) as busy:
        async with connected(busy.port) as stub:
            await stub.GetProduct(_REQUEST)
            counts = _Counts()
            call = client(stub, counts.attempts.add)
            async with asyncio.TaskGroup() as calls:
                for due in _arrivals(peak):
                    await asyncio.sleep(max(0.0, due - counts.elapsed_s()))
                    counts.offered.add(due)
                    calls.create_task(_one(call, counts))
    return Run(name, peak, counts.offered.rates(), counts.goodput.rates(), counts.attempts.rates())


async def _one(call: Client, counts: _Counts) -> None:
    if await call():
        counts.goodput.add()


async def _peak() -> float:
    """Return how many calls a second are answered when there is always one waiting: of several trials, the best."""
    answered = 0

    async def one_after_the_other() -> None:
        nonlocal answered
        while True:
            await stub.GetProduct(_REQUEST)
            answered += 1

    with serving("loadtest.busy", "limited") as busy:
        async with connected(busy.port) as stub:
            clients = [asyncio.create_task(one_after_the_other()) for _ in range(_PEAK_IN_FLIGHT)]
            peak = 0.0
            for _ in range(_PEAK_TRIALS):
                before, started = answered, time.monotonic()
                await asyncio.sleep(_PEAK_TRIAL_S)
                peak = max(peak, (answered - before) / (time.monotonic() - started))
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    return peak


def _arrivals(peak: float) -> list[float]:
    chance, now, end = random.Random(_SEED), 0.0, 0.0
    arrivals = []
    for share, duration_s in ((BASE, BEFORE_S), (OVERLOAD, OVERLOAD_S), (BASE, AFTER_S)):
        end += duration_s
        while (now := now + chance.expovariate(share * peak)) < end:
            arrivals.append(now)
        now = end
    return arrivals


class _Counter:
    """How often something happened, by bins of time."""

    def __init__(self, elapsed_s: Callable[[], float]) -> None:
        self._elapsed_s = elapsed_s
        self._bins = [0] * int((BEFORE_S + OVERLOAD_S + AFTER_S) / BIN_S)

    def add(self, when: float | None = None) -> None:
        number = int((self._elapsed_s() if when is None else when) / BIN_S)
        if number < len(self._bins):
            self._bins[number] += 1

    def rates(self) -> list[float]:
        return [count / BIN_S for count in self._bins]


class _Counts:
    """The clock of a run, and what is counted by it."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self.offered, self.goodput, self.attempts = (_Counter(self.elapsed_s) for _ in range(3))

    def elapsed_s(self) -> float:
        return time.monotonic() - self._started
