"""What a method costs through the whole chassis, beside a bare grpc.aio server, measured in the same run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from statistics import median
from tempfile import TemporaryFile

import grpc
import psutil
from mercato.catalog.v1.catalog_pb2 import GetProductRequest
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from fleet import ports

ROUNDS = 7
_CALLS = 2000
_IN_FLIGHT = 32
_START_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Overhead:
    """CPU of the server for one call, user and system, in microseconds: the median of the rounds."""

    bare_us: float
    chassis_us: float
    ratio: float
    """Of chassis to bare, by rounds that follow each other."""


async def measure(rounds_count: int = ROUNDS) -> Overhead:
    """Measure both servers in turns, with the same client."""
    with _server("bare") as bare, _server("chassis") as chassis:
        async with _client(bare.port) as of_bare, _client(chassis.port) as of_chassis:
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


@dataclass(frozen=True, slots=True)
class _Server:
    process: psutil.Popen
    port: int


@contextmanager
def _server(kind: str) -> Iterator[_Server]:
    (port,) = ports.free_block(1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "loadtest.echo", kind, str(port)]
    with TemporaryFile() as log:
        process = psutil.Popen(command, stdout=log, env=environment)
        try:
            yield _Server(process, port)
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def _client(port: int) -> AsyncIterator[CatalogServiceStub]:
    async with grpc.aio.insecure_channel(f"{ports.LOOPBACK}:{port}") as channel:
        await asyncio.wait_for(channel.channel_ready(), _START_TIMEOUT_S)
        yield CatalogServiceStub(channel)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
