"""One service's own PostgreSQL database: reads, and writes that commit in one round trip."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from chassis.errors import Unavailable

POOL_SIZE = 10
COMMAND_TIMEOUT_S = 10.0
ACQUIRE_TIMEOUT_S = 5.0


class DatabaseUnavailable(Unavailable):
    """The database could not be reached, or stopped answering."""


class Batch:
    """Statements that commit together.

    They are sent as one: each becomes a common table expression of a single statement, so that a whole transaction
    costs one round trip. They therefore all see the database as it was before, not each other's changes.
    """

    def __init__(self) -> None:
        self._statements: list[str] = []
        self._arguments: list[object] = []
        self._counts: list[int] = []

    def add(self, statement: str, *arguments: object) -> None:
        """Add an INSERT, UPDATE or DELETE with its own parameters $1, $2 ..."""
        self._statements.append(statement)
        self._arguments.extend(arguments)
        self._counts.append(len(arguments))

    def extend(self, other: Batch) -> None:
        """Add all statements of another batch."""
        self._statements += other._statements
        self._arguments += other._arguments
        self._counts += other._counts

    def __bool__(self) -> bool:
        return bool(self._statements)

    @property
    def sql(self) -> str:
        """The single statement."""
        return _joined(tuple(self._statements), tuple(self._counts))

    @property
    def arguments(self) -> list[object]:
        """Its parameters."""
        return self._arguments


class Database:
    """A pool of connections to one database. Every method raises DatabaseUnavailable when it cannot be reached."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        with translated():
            self._pool = await asyncpg.create_pool(
                self.url, min_size=1, max_size=POOL_SIZE, command_timeout=COMMAND_TIMEOUT_S, timeout=ACQUIRE_TIMEOUT_S
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.pool.terminate()

    @property
    def pool(self) -> asyncpg.Pool[asyncpg.Record]:
        """The open pool."""
        assert self._pool is not None, "the database is not open"
        return self._pool

    async def commit(self, batch: Batch) -> None:
        """Run a batch in one transaction; asyncpg's constraint errors say what it broke, and then nothing changed."""
        if batch:
            async with self.connection() as connection:
                await connection.execute(batch.sql, *batch.arguments)

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Read rows."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def row(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Read the first row; None when there is none."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def value(self, query: str, *arguments: object) -> Any:
        """Read the first column of the first row; None when there is none."""
        async with self.connection() as connection:
            return await connection.fetchval(query, *arguments)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Borrow a connection."""
        with translated():
            async with self.pool.acquire(timeout=ACQUIRE_TIMEOUT_S) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Borrow a connection for several statements that commit together."""
        async with self.connection() as connection, connection.transaction():
            yield connection


@contextmanager
def translated() -> Iterator[None]:
    """Turn what asyncpg raises when the server is gone into DatabaseUnavailable."""
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.PostgresConnectionError,
        asyncpg.exceptions.OperatorInterventionError,
        asyncpg.exceptions.InsufficientResourcesError,
    ) as error:
        raise DatabaseUnavailable from error


@lru_cache(maxsize=512)
def _joined(statements: tuple[str, ...], counts: tuple[int, ...]) -> str:
    if len(statements) == 1:
        return statements[0]
    parts, offset = [], 0
    for number, (statement, count) in enumerate(zip(statements, counts, strict=True)):
        parts.append(f"w{number} AS ({_renumbered(statement, offset)})")
        offset += count
    return "WITH " + ", ".join(parts) + " SELECT"


def _renumbered(statement: str, offset: int) -> str:
    return re.sub(r"\$(\d+)", lambda match: f"${int(match[1]) + offset}", statement)
