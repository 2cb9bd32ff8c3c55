"""One service's own PostgreSQL database: reads, and writes that commit in one round trip."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from types import TracebackType
from typing import Any, Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from chassis.errors import Aborted, Unavailable

POOL_SIZE = 10
COMMAND_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
SESSION = {"plan_cache_mode": "force_generic_plan", "jit": "off"}
"""Statements are few, short and prepared: planning each anew would cost more than running it."""


class DatabaseUnavailable(Unavailable):
    """The database could not be reached, or stopped answering."""


class RequestRepeated(Aborted):
    """This request was carried out before."""


class ConcurrentChange(Aborted):
    """The resource is being changed by many at once; try again."""


class Deadlock(Aborted):
    """Changes at once waited for each other, and this one gave way; try again."""


class UnexpectedRows(Exception):
    """A statement of a batch did not return as many rows as it has to; nothing was committed."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a batch."""

    sql: str
    parameters: int
    name: str
    counted: bool
    """Whether its last parameter is how many rows it has to return."""


class Batch:
    """Statements that commit together.

    They are sent as one: each becomes a common table expression of a single statement, so that a whole transaction
    costs one round trip. They therefore all see the database as it was before, not each other's changes, and which
    comes first is not given.
    """

    def __init__(self) -> None:
        self._statements: list[Statement] = []
        self._arguments: list[object] = []

    def add(self, sql: str, *arguments: object, name: str = "", rows: int | None = None) -> None:
        """Add a statement with its own parameters $1, $2 ...; later ones can read what it returns under its `name`.

        Where it does not return as many `rows` as expected, nothing of the batch commits.
        """
        if rows is not None:
            arguments = (*arguments, rows)
        self._statements.append(
            Statement(sql, len(arguments), name or f"w{len(self._statements)}", counted=rows is not None)
        )
        self._arguments.extend(arguments)

    def extend(self, other: Batch) -> None:
        """Add all statements of another batch, which has no names."""
        for statement in other._statements:
            self._statements.append(replace(statement, name=f"w{len(self._statements)}"))
        self._arguments.extend(other._arguments)

    def __bool__(self) -> bool:
        return bool(self._statements)

    @property
    def sql(self) -> str:
        """The single statement."""
        return _joined(tuple(self._statements))

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
                self.url,
                min_size=1,
                max_size=POOL_SIZE,
                command_timeout=COMMAND_TIMEOUT_S,
                timeout=CONNECT_TIMEOUT_S,
                max_inactive_connection_lifetime=0,
                reset=_as_it_is,
                server_settings=SESSION,
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
        """Run a batch in one transaction. When it raises, nothing changed.

        RequestRepeated: its answer is stored already; ConcurrentChange: the subject of its events has got such a
        version already; Deadlock; UnexpectedRows; asyncpg's errors for other constraints it breaks.
        """
        if batch:
            async with self.connection() as connection:
                await execute(connection, batch)

    async def commit_all(self, batches: Sequence[Batch]) -> None:
        """Run many batches in one transaction, in this order. Batches of one shape in a row cost one round trip.

        Raises like commit.
        """
        written = [batch for batch in batches if batch]
        if not written:
            return
        async with self.transaction() as connection:
            for sql, alike in groupby(written, lambda batch: batch.sql):
                with _told():
                    await connection.executemany(sql, [batch.arguments for batch in alike])

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
            connection = await self.pool.acquire()
        try:
            with translated(connection.is_closed):
                yield connection
        finally:
            with translated():
                await self.pool.release(connection)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """Borrow a connection for several statements that commit together."""
        async with self.connection() as connection, connection.transaction():
            yield connection


async def _as_it_is(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Spare the round trip that asyncpg takes to clean up a session with every use: ours leave nothing behind."""


async def execute(connection: PoolConnectionProxy[asyncpg.Record], batch: Batch) -> None:
    """Run a batch within a transaction of the caller's; raises like Database.commit."""
    with _told():
        await connection.execute(batch.sql, *batch.arguments)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what a batch runs into, into what it means."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        first_comer = _FIRST_COMERS.get(error.constraint_name or "")
        if first_comer is None:
            raise
        raise first_comer from None
    except asyncpg.DivisionByZeroError:
        raise UnexpectedRows from None
    except asyncpg.exceptions.TransactionRollbackError as error:
        raise Deadlock from error


@contextmanager
def translated(is_closed: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Turn what asyncpg raises when the server is gone into DatabaseUnavailable.

    InterfaceError also means that asyncpg is used wrongly: only on a closed connection it does not.
    """
    try:
        yield
    except asyncpg.InterfaceError as error:
        if not is_closed():
            raise
        raise DatabaseUnavailable from error
    except (
        OSError,
        TimeoutError,
        asyncpg.PostgresConnectionError,
        asyncpg.exceptions.OperatorInterventionError,
        asyncpg.exceptions.InsufficientResourcesError,
    ) as error:
        raise DatabaseUnavailable from error


_FIRST_COMERS: dict[str, type[Exception]] = {"requests_pkey": RequestRepeated, "events_pkey": ConcurrentChange}
"""What it means that a row of that key is there already: schema.sql."""


@lru_cache(maxsize=512)
def _joined(statements: tuple[Statement, ...]) -> str:
    if len(statements) == 1 and not statements[0].counted:
        return statements[0].sql
    parts, checks, offset = [], [], 0
    for statement in statements:
        parts.append(f"{statement.name} AS ({_renumbered(statement.sql, offset)})")
        offset += statement.parameters
        if statement.counted:  # a division by zero undoes the whole statement
            checks.append(f"1 / ((SELECT count(*) FROM {statement.name}) = ${offset}::bigint)::int")  # noqa: S608
    return "WITH " + ", ".join(parts) + " SELECT " + ", ".join(checks)


def _renumbered(sql: str, offset: int) -> str:
    return re.sub(r"\$(\d+)", lambda match: f"${int(match[1]) + offset}", sql)
