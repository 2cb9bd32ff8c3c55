"""Whether an instance takes calls: it looks each second at what it depends on, never at other services.

Only what it cannot serve without makes it not ready, and that is its database: while the bus is away events wait in the
outbox, while the mesh is away calls go as it said last. Other services are none of it, else one that is ill would
take all those down that call it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Self

import asyncpg

from chassis.bus import Bus
from chassis.clock import Clock
from chassis.connections import Connection

LOOK_S = 1.0
TIMEOUT_S = 2.0
"""Long enough that it is not what a busy moment of this process takes."""
DOUBTS = 2
"""Looks in a row that a doubt has to last; what is certain counts at once."""

_log = logging.getLogger(__name__)


class Missing(Exception):
    """Something is not there; its text says what is wrong with it."""

    def __init__(self, problem: str, *, certain: bool = True) -> None:
        super().__init__(problem)
        self.problem = problem
        self.certain = certain


Look = Callable[[], Awaitable[None]]
"""Looks whether something is there, raising Missing where it is not."""
Tell = Callable[[str], Awaitable[None]]
"""Is told why the instance takes no calls; nothing, when it takes them."""


@dataclass
class Dependency:
    """Something that an instance depends on, and how it was when it was looked at last."""

    name: str
    optional: bool
    """Whether the instance can serve without it."""
    look: Look
    since: datetime
    """Since when it is as it is."""
    problem: str = ""
    doubts: int = 0

    async def update(self, clock: Clock) -> None:
        """Look at it."""
        problem = ""
        try:
            await self.look()
            self.doubts = 0
        except Missing as missing:
            self.doubts += 1
            certain = missing.certain or self.doubts >= DOUBTS
            problem = missing.problem if certain else self.problem
        if bool(problem) != bool(self.problem):
            self.since = clock.now()
            if problem:
                _log.warning(f"{self.name} is missing", extra={"problem": problem})
            else:
                _log.info(f"{self.name} is back")
        self.problem = problem


class Readiness:
    """What one instance depends on, all of which counts as there until it was looked at."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._told = ""
        self.dependencies: list[Dependency] = []

    def add(self, name: str, look: Look, *, optional: bool = False) -> None:
        """Look at something from now on."""
        self.dependencies.append(Dependency(name, optional, look, self._clock.now()))

    @property
    def problem(self) -> str:
        """Why the instance takes no calls, as `database: connection refused`; empty while it does."""
        missing = (each for each in self.dependencies if each.problem and not each.optional)
        return "; ".join(f"{each.name}: {each.problem}" for each in missing)

    async def run(self, *tell: Tell) -> None:
        """Look until cancelled, and tell all these whenever it begins or ceases to take calls."""
        while True:
            await asyncio.gather(*(each.update(self._clock) for each in self.dependencies))
            if self.problem != self._told:
                self._told = self.problem
                for each in tell:
                    await each(self._told)
            await self._clock.sleep(LOOK_S)


class DatabaseLook:
    """Asks a database for an answer, over a connection of its own: those that calls wait for are left to them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: Connection | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._leave()

    async def __call__(self) -> None:
        """Look; Missing."""
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if not await self._answers():
                    self._connection = await asyncpg.connect(self._url)
        except TimeoutError:
            self._leave()
            raise Missing(f"no answer within {TIMEOUT_S:g} s", certain=False) from None
        except asyncpg.TooManyConnectionsError:
            return  # it is there, and calls have connections of their own
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Missing(_words(error)) from error

    async def _answers(self) -> bool:
        """Whether the connection there is answers. One that broke does not say that there is no database."""
        if self._connection is None:
            return False
        try:
            await self._connection.execute("SELECT 1")
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if isinstance(error, TimeoutError):
                raise
            self._leave()
            return False
        return True

    def _leave(self) -> None:
        if self._connection:
            self._connection.terminate()
            self._connection = None


def bus_look(bus: Bus) -> Look:
    """Return what looks whether there is a connection to the bus."""

    async def look() -> None:
        if not bus.connected:
            raise Missing("not connected")

    return look


def _words(error: Exception) -> str:
    """Return what is wrong in a few words, without addresses."""
    if isinstance(error, socket.gaierror):  # its numbers are of another kind
        return "its host is not known"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error).partition("\n")[0] or type(error).__name__
