"""The engines as context managers: a real PostgreSQL or NATS on a temporary folder, for tests and trials."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from fleet import databases, ports
from fleet import nats as nats_server
from fleet import postgres as postgres_server
from fleet.errors import FleetError
from fleet.waiting import until

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 10.0


@contextlib.asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[str]:
    """A running PostgreSQL with its data in `folder`; yields the URL of its admin. Its output goes to a file there."""
    [port] = ports.free_block(1)
    url = postgres_server.url(folder, port)
    async with _running("fleet.postgres", folder, port, ["--no-sync"], postgres_server.STOP_SIGNAL) as process:
        await _until(process, lambda: databases.answers(url))
        yield url


@contextlib.asynccontextmanager
async def nats(folder: Path) -> AsyncIterator[str]:
    """A running NATS with its streams in `folder`; yields its URL. Its output goes to a file there."""
    [port] = ports.free_block(1)
    async with _running("fleet.nats", folder, port, [], signal.SIGTERM) as process:
        await _until(process, lambda: ports.listens(ports.LOOPBACK, port))
        yield nats_server.url(port)


@contextlib.asynccontextmanager
async def _running(
    module: str, folder: Path, port: int, options: list[str], stop_signal: signal.Signals
) -> AsyncIterator[asyncio.subprocess.Process]:
    path = os.pathsep.join([str(Path(__file__).parent.parent), *sys.path])
    with _append(folder / "output.log") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, str(folder), str(port), *options,
            env={**os.environ, "PYTHONPATH": path}, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(stop_signal)
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()


def _append(file: Path) -> BinaryIO:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return file.open("ab")


async def _until(process: asyncio.subprocess.Process, answers: Callable[[], Awaitable[bool]]) -> None:
    async def answers_or_ended() -> bool:
        return process.returncode is not None or await answers()

    async with asyncio.timeout(_START_TIMEOUT_S):
        await until(answers_or_ended)
    if process.returncode is not None:
        raise FleetError(f"ended with code {process.returncode}; see output.log in its folder")
