"""What a method costs through the whole chassis, beside a bare grpc.aio server, measured in the same run."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median

import psutil
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from loadtest.processes import connected, serving

ROUNDS = 7
_CALLS = 2000
_IN_FLIGHT = 32


@dataclass(frozen=True, slots=True)
class Overhead:
    """CPU of the server for one call, user and system, in microseconds: the median of the rounds."""

    bare_us: float
    chassis_us: float
    ratio: float
    """Of chassis to bare, by rounds that follow each other."""


async def measure(rounds_count: int = ROUNDS) -> Overhead:
    """Measure both servers in turns, with the same client."""
    with serving("loadtest.echo", "bare") as bare, serving("loadtest.echo", "chassis") as chassis:
        async with connected(bare.port) as of_bare, connected(chassis.port) as of_chassis:
            turns = ((of_bare, bare.process), (of_chassis, chassis.process))
            for stub, process in turns:
                await _round_us(stub, process)  # warms it up
            rounds = [[await _round_us(stub, process) for stub, process in turns] for _ in range(rounds_count)]
    return Overhead(
        median(bare_us for bare_us, _ in rounds),
        median(chassis_us for _, chassis_us in rounds),
        median(chassis_us / bare_us for bare_us, chassis_us in rounds),
    )


async def _round_us(stub: CatalogServiceStub, process: psutil.Process) -> float:
    request = GetProductRequest(name="products/85123A")

    async def one_after_the_other() -> None:
        for _ in range(_CALLS // _IN_FLIGHT):
            await stub.GetProduct(request, timeout=10)

    before_s = _cpu_s(process)
    await asyncio.gather(*(one_after_the_other() for _ in range(_IN_FLIGHT)))
    return (_cpu_s(process) - before_s) / (_CALLS // _IN_FLIGHT * _IN_FLIGHT) * 1e6


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
