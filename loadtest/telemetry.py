"""What telemetry costs a call: a service that asks another, in each way to tell, measured in turns in one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter

import psutil
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from fleet import ports
from loadtest.processes import Serving, connected, serving

ROUNDS = 40
_CALLS = 480
_IN_FLIGHT = 16  # of which the number of calls is a multiple
_PRODUCT = GetProductRequest(name="products/85123A")

OFF, UNSAMPLED, SAMPLED = "off", "on, unsampled", "10 % sampled"
AWAY = ("10 %, nobody listens", "10 %, who listens hangs")
_TENTH = {"MERCATO_TRACE_RATIO": "0.1", "MERCATO_TRACES_PER_SECOND": "0"}
WAYS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    OFF: ("", {}),
    UNSAMPLED: ("taking", {"MERCATO_TRACE_RATIO": "0"}),
    SAMPLED: ("taking", _TENTH),
    AWAY[0]: ("nobody", _TENTH),
    AWAY[1]: ("hanging", _TENTH),
}
"""By name who listens, and how services are told to tell."""
AIMS = {UNSAMPLED: 1.06, SAMPLED: 1.2}
"""How many times the CPU of telemetry off they may take."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What calls cost in one way to tell, over all rounds. Ratios are of this way to telemetry off."""

    cpu_us: float
    """CPU of both services for one call, user and system, in microseconds."""
    cpu_ratio: float
    calls_per_s: float
    rate_ratio: float
    grown_mib: float
    """What both services grew by in memory, from the first round to the last."""


@dataclass(frozen=True, slots=True)
class _Way:
    stub: CatalogServiceStub
    services: tuple[psutil.Popen, ...]

    @property
    def cpu_s(self) -> float:
        """CPU that was spent so far."""
        times = [process.cpu_times() for process in self.services]
        return float(sum(each.user + each.system for each in times))

    @property
    def mib(self) -> float:
        """Memory that is used."""
        return float(sum(process.memory_info().rss for process in self.services)) / 2**20


@dataclass(frozen=True, slots=True)
class _Spent:
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def __add__(self, other: _Spent) -> _Spent:
        return _Spent(self.cpu_s + other.cpu_s, self.wall_s + other.wall_s)


async def measure(rounds: int = ROUNDS, calls: int = _CALLS) -> dict[str, Cost]:
    """Measure all ways in short turns, with the same client: what else the machine does falls on all alike."""
    async with AsyncExitStack() as stack:
        ways = {name: await stack.enter_async_context(_open(*told)) for name, told in WAYS.items()}
        for way in ways.values():
            await _round(way, calls)  # warms it up
        before = {name: way.mib for name, way in ways.items()}
        spent = {name: _Spent() for name in ways}
        for number in range(rounds):
            turns = list(ways.items())
            for name, way in turns if number % 2 else reversed(turns):
                spent[name] += await _round(way, calls)
        off = spent[OFF]
        return {
            name: Cost(
                cpu_us=spent[name].cpu_s / (rounds * calls) * 1e6,
                cpu_ratio=spent[name].cpu_s / off.cpu_s,
                calls_per_s=rounds * calls / spent[name].wall_s,
                rate_ratio=off.wall_s / spent[name].wall_s,
                grown_mib=way.mib - before[name],
            )
            for name, way in ways.items()
        }


@asynccontextmanager
async def _open(listener: str, told: Mapping[str, str]) -> AsyncIterator[_Way]:
    """Start two services, one asking the other, and who listens to them."""
    async with AsyncExitStack() as stack:
        tells = dict(told)
        if listener == "nobody":
            tells["MERCATO_TELEMETRY"] = f"{ports.LOOPBACK}:{ports.free_block(1)[0]}"
        elif listener:
            sink = stack.enter_context(serving("loadtest.sink", listener))
            tells["MERCATO_TELEMETRY"] = f"{ports.LOOPBACK}:{sink.port}"
        echo: Serving = stack.enter_context(serving("loadtest.echo", "chassis", **tells))
        target = f"catalog=ipv4:{ports.LOOPBACK}:{echo.port}"
        relay: Serving = stack.enter_context(serving("loadtest.echo", "relay", MERCATO_TARGETS=target, **tells))
        stub = await stack.enter_async_context(connected(relay.port))
        await stub.GetProduct(_PRODUCT, timeout=30, wait_for_ready=True)
        yield _Way(stub, (echo.process, relay.process))


async def _round(way: _Way, calls: int) -> _Spent:
    async def one_after_the_other() -> None:
        for _ in range(calls // _IN_FLIGHT):
            await way.stub.GetProduct(_PRODUCT, timeout=10)

    before_s, began_s = way.cpu_s, perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(_IN_FLIGHT)))
    return _Spent(way.cpu_s - before_s, perf_counter() - began_s)
