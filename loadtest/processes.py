"""Servers that experiments start as processes of their own, and clients of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile

import grpc
import psutil
from mercato.catalog.v1.catalog_pb2_grpc import CatalogServiceStub

from fleet import ports

_START_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs."""

    process: psutil.Popen
    port: int


@contextmanager
def serving(module: str, kind: str, **told: str) -> Iterator[Serving]:
    """Run a module that serves the catalogue, as one kind of it and told so, until the end of the block."""
    (port,) = ports.free_block(1)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **told}
    command = [sys.executable, "-m", module, kind, str(port)]
    with TemporaryFile() as log:
        process = psutil.Popen(command, stdout=log, env=environment)
        try:
            yield Serving(process, port)
        finally:
            process.kill()
            process.wait()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[CatalogServiceStub]:
    """Call it within the block; TimeoutError when it does not start."""
    async with grpc.aio.insecure_channel(f"{ports.LOOPBACK}:{port}") as channel:
        async with asyncio.timeout(_START_TIMEOUT_S):
            await channel.channel_ready()
        yield CatalogServiceStub(channel)
