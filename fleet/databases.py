"""One database and one role per service on one PostgreSQL server: nobody reads another's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from urllib.parse import urlsplit

import asyncpg

from fleet.errors import FleetError

_CONNECT_TIMEOUT_S = 5.0
_POLL_S = 0.02


async def answers(url: str) -> bool:
    """Whether the server lets a client in now: it listens a little before it does. FleetError where it never will."""
    try:
        connection = await asyncpg.connect(url, timeout=_CONNECT_TIMEOUT_S)
    except (ConnectionError, TimeoutError, asyncpg.CannotConnectNowError):
        return False
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise FleetError(f"cannot connect to PostgreSQL: {error}") from error
    await connection.close()
    return True


async def provide(admin_url: str, urls: Iterable[str]) -> None:
    """Create the role and the database that each of `urls` names, where missing, and let in its own role alone."""
    urls = list(urls)
    connection = await asyncpg.connect(admin_url, timeout=_CONNECT_TIMEOUT_S)
    try:
        roles = {row[0] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in await connection.fetch("SELECT datname FROM pg_database")}
        await connection.execute(";".join(_role(url, roles) for url in urls))
        await asyncio.gather(*(_create(admin_url, url) for url in urls if _name(url) not in databases))
        await connection.execute(";".join(f"REVOKE ALL ON DATABASE {_name(url)} FROM PUBLIC" for url in urls))
    finally:
        await connection.close()


def _role(url: str, existing: set[str]) -> str:
    name, password = _name(url), urlsplit(url).password
    if name in existing:
        return f"ALTER ROLE {name} LOGIN PASSWORD '{password}'"
    return f"CREATE ROLE {name} LOGIN PASSWORD '{password}'; GRANT {name} TO CURRENT_USER"


async def _create(admin_url: str, url: str) -> None:
    connection = await asyncpg.connect(admin_url, timeout=_CONNECT_TIMEOUT_S)
    try:
        await connection.execute(f"CREATE DATABASE {_name(url)} OWNER {_name(url)}")
    finally:
        await connection.close()


def _name(url: str) -> str:
    """The database's name, which is also its role's, and made of letters that need no quotes."""
    return urlsplit(url).path.removeprefix("/")
