"""One service's own PostgreSQL database: reads, and writes that commit in one round trip."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg

from chassis.connections import GONE, Connection, Connections, Loan
from chassis.errors import Aborted
from chassis.telemetry import sql as spans


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
    """One database. Every method raises DatabaseUnavailable when it cannot be reached."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.name = urlsplit(url).path.lstrip("/")
        self._connections = Connections(url)

    async def __aenter__(self) -> Self:
        async with self.connection():
            return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._connections.end()

    async def commit(self, batch: Batch) -> None:
        """Run a batch in one transaction. When it raises, nothing changed.

        RequestRepeated: its answer is stored already; ConcurrentChange: the subject of its events has got such a
        version already; Deadlock; UnexpectedRows; asyncpg's errors for other constraints it breaks.
        """
        if batch:
            with spans.statement(self.name, batch.sql):
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
                try:
                    await connection.executemany(sql, [batch.arguments for batch in alike])
                except asyncpg.PostgresError as error:
                    raise _meaning(error) from None

    async def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """Read rows."""
        with spans.statement(self.name, query):
            async with self.connection() as connection:
                return await connection.fetch(query, *arguments)

    async def row(self, query: str, *arguments: object) -> asyncpg.Record | None:
        """Read the first row; None when there is none."""
        with spans.statement(self.name, query):
            async with self.connection() as connection:
                return await connection.fetchrow(query, *arguments)

    async def value(self, query: str, *arguments: object) -> Any:
        """Read the first column of the first row; None when there is none."""
        with spans.statement(self.name, query):
            async with self.connection() as connection:
                return await connection.fetchval(query, *arguments)

    def connection(self) -> Loan:
        """Borrow a connection."""
        return Loan(self._connections)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Borrow a connection for several statements that commit together.

        Where it is not known how the transaction ended, or that it began, the connection is broken off: whoever had it
        next would write into that transaction, which nobody commits. asyncpg's own transactions do not look.
        """
        async with self.connection() as connection:
            over = False
            try:
                with spans.statements(self.name, connection):
                    await connection.execute("BEGIN")
                    try:
                        yield connection
                    except GONE:
                        raise
                    except Exception:
                        await connection.execute("ROLLBACK")
                        over = True
                        raise
                    await connection.execute("COMMIT")
                    over = True
            finally:
                if not over:
                    connection.terminate()


async def execute(connection: Connection, batch: Batch) -> None:
    """Run a batch within a transaction of the caller's; raises like Database.commit."""
    try:
        await connection.execute(batch.sql, *batch.arguments)
    except asyncpg.PostgresError as error:
        raise _meaning(error) from None


def _meaning(error: asyncpg.PostgresError) -> Exception:
    """Return what it means that a batch ran into an error; itself where it means nothing else."""
    match error:
        case asyncpg.UniqueViolationError():
            return _FIRST_COMERS.get(error.constraint_name or "", lambda: error)()
        case asyncpg.DivisionByZeroError():
            return UnexpectedRows()
        case asyncpg.exceptions.TransactionRollbackError():
            return Deadlock()
    return error


_FIRST_COMERS: dict[str, Callable[[], Exception]] = {"requests_pkey": RequestRepeated, "events_pkey": ConcurrentChange}
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
