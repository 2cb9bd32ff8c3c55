"""Schema changes: numbered SQL files, each applied once, in order, by whichever instance comes first."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from chassis.database import Database
from chassis.errors import FailedPrecondition

LOCK = 7_001
_FILE = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")
_log = logging.getLogger(__name__)


class MigrationChanged(FailedPrecondition):
    """The migration {name} was changed after it was applied; write a new one instead."""


class MigrationMisnamed(FailedPrecondition):
    """The migration {name} is not named like 001_what_it_does.sql."""


async def migrate(database: Database, folder: Path) -> None:
    """Bring a database up to date: the chassis' schema, then the files of `folder`."""
    files = _files(folder)
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, sql text NOT NULL)")
        applied = {row["name"]: row["sql"] for row in await connection.fetch("SELECT name, sql FROM migrations")}
        for name, sql in files.items():
            if name not in applied:
                await connection.execute(sql)
                await connection.execute("INSERT INTO migrations VALUES ($1, $2)", name, sql)
                _log.info("migrated", extra={"migration": name})
            elif applied[name] != sql:
                raise MigrationChanged(name=name)


def _files(folder: Path) -> dict[str, str]:
    files = {"000_chassis.sql": Path(__file__).with_name("schema.sql").read_text()}
    for path in sorted(folder.glob("*.sql")):
        if not _FILE.fullmatch(path.name):
            raise MigrationMisnamed(name=path.name)
        files[path.name] = path.read_text()
    return files
