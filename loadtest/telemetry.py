"""What telemetry costs a call: a service that asks another, in each way to tell, measured in turns in one run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import psutil
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from fleet import ports
from loadtest.processes import Serving, connected, serving

ROUNDS = 9
_CALLS = 2000
_IN_FLIGHT = 16
_PRODUCT = GetProductRequest(name="products/85123A")

OFF = "off"
_EVERY_CALL = {"MERCATO_TRACES_PER_SECOND": "0"}
WAYS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    OFF: ("", {}),
    "unsampled": ("taking", {"MERCATO_TRACE_RATIO": "0"}),
    "10 % sampled": ("taking", {"MERCATO_TRACE_RATIO": "0.1", **_EVERY_CALL}),
    "10 %, nobody listens": ("nobody", {"MERCATO_TRACE_RATIO": "0.1", **_EVERY_CALL}),
    "10 %, who listens hangs": ("hanging", {"MERCATO_TRACE_RATIO": "0.1", **_EVERY_CALL}),
}
"""By name who listens, and how services are told to tell."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What calls cost in one way to tell. Ratios are of this way to telemetry off, by rounds that follow each other."""

    cpu_us: float
    """CPU of both services for one call, user and system, in microseconds: the median of the rounds."""
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
class _Round:
    cpu_us: float
    calls_per_s: float


async def measure(rounds: int = ROUNDS, calls: int = _CALLS) -> dict[str, Cost]:
    """Measure all ways in turns, with the same client."""
    async with AsyncExitStack() as stack:
        ways = {name: await stack.enter_async_context(_open(*told)) for name, told in WAYS.items()}
        for way in ways.values():
            await _round(way, calls)  # warms it up
        before = {name: way.mib for name, way in ways.items()}
        taken = [{name: await _round(way, calls) for name, way in ways.items()} for _ in range(rounds)]
        return {
            name: Cost(
                cpu_us=median(each[name].cpu_us for each in taken),
                cpu_ratio=median(each[name].cpu_us / each[OFF].cpu_us for each in taken),
                calls_per_s=median(each[name].calls_per_s for each in taken),
                rate_ratio=median(each[name].calls_per_s / each[OFF].calls_per_s for each in taken),
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


async def _round(way: _Way, calls: int) -> _Round:
    async def one_after_the_other() -> None:
        for _ in range(calls // _IN_FLIGHT):
            await way.stub.GetProduct(_PRODUCT, timeout=10)

    before_s, began_s = way.cpu_s, perf_counter()
    await asyncio.gather(*(one_after_the_other() for _ in range(_IN_FLIGHT)))
    made = calls // _IN_FLIGHT * _IN_FLIGHT
    return _Round((way.cpu_s - before_s) / made * 1e6, made / (perf_counter() - began_s))
