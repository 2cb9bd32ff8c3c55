"""PostgreSQL and NATS on a port and a folder of their own, to be killed and started again under a service."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from fleet import databases, nats, ports, postgres
from tests.stage import eventually


class Engine:
    """A server that can be killed, and started again where it was."""

    def __init__(
        self,
        module: str,
        url: str,
        port: int,
        folder: Path,
        ready: Callable[[], Awaitable[bool]],
        kill_signal: signal.Signals = signal.SIGKILL,
        options: tuple[str, ...] = (),
    ) -> None:
        self.url = url
        self._kill_signal = kill_signal
        self._command = (sys.executable, "-m", module, str(folder), str(port), *options)
        self._ready = ready
        self._output = folder.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; returns when it answers."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        with self._output.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=environment, stdout=output, stderr=output
            )
        await eventually(self._ready)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal: SIGSTOP makes it hang, SIGCONT go on."""
        assert self._process
        self._process.send_signal(number)

    async def kill(self) -> None:
        """Kill it; returns when it is gone."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(self._kill_signal)
            await self._process.wait()


@asynccontextmanager
async def nats_engine(folder: Path) -> AsyncIterator[Engine]:
    """A NATS, started."""
    [port] = ports.free_block(1)
    engine = Engine("fleet.nats", nats.url(port), port, folder / "nats", lambda: ports.listens(ports.LOOPBACK, port))
    async with _running(engine):
        yield engine


@asynccontextmanager
async def postgres_engine(folder: Path) -> AsyncIterator[Engine]:
    """A PostgreSQL, started."""
    [port] = ports.free_block(1)
    url = postgres.url(folder / "postgres", port)
    answers = lambda: databases.answers(url)  # noqa: E731
    # SIGQUIT is a crash to PostgreSQL: nothing is flushed, the next start recovers, but no process of it lingers.
    engine = Engine("fleet.postgres", url, port, folder / "postgres", answers, signal.SIGQUIT, ("--no-sync",))
    async with _running(engine):
        yield engine


@asynccontextmanager
async def _running(engine: Engine) -> AsyncIterator[Engine]:
    await engine.start()
    try:
        yield engine
    finally:
        await engine.kill()
