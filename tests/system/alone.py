"""A service as a process of its own, as a container would run it."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from sysconfig import get_path
from typing import Any

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

START_S = 30.0


@dataclass
class Alone:
    """A running process and where it serves gRPC."""

    process: asyncio.subprocess.Process
    target: str


@asynccontextmanager
async def alone(tree: Path, service: str, **environment: str) -> AsyncIterator[Alone]:
    """Run `python -m services.<service>` in a tree that holds it, with the installed libraries and nothing else.

    Ready when it says SERVING; killed at the end if it still runs.
    """
    grpc_port, http_port = _free_port(), _free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-m", f"services.{service}",  # without `site`, an editable install adds no other tree
        cwd=tree,
        env={
            "PYTHONPATH": f"{tree}:{tree / 'generated'}:{get_path('purelib')}",
            "MERCATO_PORT": str(grpc_port),
            "MERCATO_HTTP_PORT": str(http_port),
            "MERCATO_DRAIN_S": "0",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    target = f"127.0.0.1:{grpc_port}"
    try:
        await _serving(process, target)
        yield Alone(process, target)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _serving(process: asyncio.subprocess.Process, target: str) -> None:
    async with asyncio.timeout(START_S), grpc.aio.insecure_channel(target) as channel:
        check: Any = HealthStub(channel).Check  # type: ignore[attr-defined]
        while process.returncode is None:
            try:
                health = await check(HealthCheckRequest(), timeout=1)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)
                continue
            if health.status == HealthCheckResponse.SERVING:
                return
    output, _ = await process.communicate()
    raise AssertionError(f"it ended with {process.returncode}: {output.decode()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
