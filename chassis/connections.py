"""The connections of one database, lent one after the other.

asyncpg has a pool of its own, which makes a task, a proxy and four contexts of each loan: as much work again as most
of our statements. This one keeps what is not lent in a list. Sessions are not reset, as ours leave nothing behind;
asyncpg itself sees to it that a statement that was cancelled is over before the next begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, TypeAlias
from weakref import WeakSet

import asyncpg

from chassis.errors import Unavailable
from chassis.telemetry.metrics import Measured, measure

MOST = 10
COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
SESSION = {
    "plan_cache_mode": "force_generic_plan",  # statements are few, short and prepared: planning each anew would cost
    "jit": "off",  # more than running it
    "client_connection_check_interval": "1s",  # a statement whose connection was broken off ends, and lets its locks go
}

GONE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
)
"""What is raised where the server is gone, or does not answer."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class DatabaseUnavailable(Unavailable):
    """The database could not be reached, or stopped answering."""


class Connections:
    """At most so many connections to one database, made when they are needed and kept until the end."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._room = asyncio.Semaphore(MOST)
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._ended = False
        _pools.add(self)

    async def borrow(self) -> Connection:
        """Return a connection that is nobody else's; DatabaseUnavailable."""
        await self._room.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
                self._all.discard(connection)
            return await self._connect()
        except BaseException:
            self._room.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Let others have a connection; one that is closed is forgotten."""
        if connection.is_closed():
            self._all.discard(connection)
        else:
            self._idle.append(connection)
        self._room.release()

    def end(self) -> None:
        """Break all connections off, also those that are lent."""
        self._ended = True
        for connection in self._all:
            connection.terminate()

    async def _connect(self) -> Connection:
        if self._ended:
            raise DatabaseUnavailable
        try:
            connection: Connection = await asyncpg.connect(
                self._url, timeout=CONNECT_TIMEOUT_S, command_timeout=COMMAND_TIMEOUT_S, server_settings=SESSION
            )
        except (*GONE, asyncpg.InterfaceError) as error:
            raise DatabaseUnavailable from error
        self._all.add(connection)
        if self._ended:  # meanwhile
            connection.terminate()
        return connection


_pools: WeakSet[Connections] = WeakSet()


def _counts() -> Iterator[tuple[Sequence[str], float]]:
    pools = list(_pools)
    idle = sum(len(pool._idle) for pool in pools)
    yield ("idle",), idle
    yield ("used",), sum(len(pool._all) for pool in pools) - idle


measure(
    Measured("db.client.connection.count", "Connections to the database.", ["db.client.connection.state"], _counts),
    Measured("db.client.connection.max", "As many as there may be.", [], lambda: [((), MOST * len(_pools))]),
)


class Loan:
    """A connection within a block; what is raised there because it broke becomes DatabaseUnavailable."""

    __slots__ = ("_connection", "_connections")

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._connection: Any = None

    async def __aenter__(self) -> Connection:
        self._connection = await self._connections.borrow()
        connection: Connection = self._connection
        return connection

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None  # it holds values, which no log and no span may show
        is_closed = self._connection.is_closed()
        self._connections.give_back(self._connection)
        # InterfaceError also means that asyncpg is used wrongly: only on a closed connection it does not.
        if isinstance(error, GONE) or (is_closed and isinstance(error, asyncpg.InterfaceError)):
            raise DatabaseUnavailable from error
