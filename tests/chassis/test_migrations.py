"""Schema changes: each once, in order, by whoever comes first; none changed afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from chassis.database import Database
from chassis.migrations import MigrationChanged, MigrationMisnamed, migrate
from tests.stage import Stage


@pytest.fixture
async def database(stage: Stage) -> AsyncIterator[Database]:
    async with Database(await stage.new_database("migrations")) as database:
        yield database


async def applied(database: Database) -> list[str]:
    return [row["name"] for row in await database.rows("SELECT name FROM migrations ORDER BY name")]


async def test_files_are_applied_in_their_order_after_the_chassis_own(database: Database, tmp_path: Path) -> None:
    (tmp_path / "002_fill.sql").write_text("INSERT INTO jars SELECT 'first'; INSERT INTO jars SELECT 'second'")
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text)")
    await migrate(database, tmp_path)
    assert await applied(database) == ["000_chassis.sql", "001_jars.sql", "002_fill.sql"]
    assert await database.value("SELECT count(*) FROM jars") == 2
    assert await database.value("SELECT count(*) FROM events") == 0


async def test_a_later_file_is_applied_alone(database: Database, tmp_path: Path) -> None:
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text)")
    await migrate(database, tmp_path)
    (tmp_path / "002_fill.sql").write_text("INSERT INTO jars VALUES ('sweets')")
    for _ in range(2):
        await migrate(database, tmp_path)
    assert await database.value("SELECT count(*) FROM jars") == 1


async def test_instances_that_start_at_once_apply_each_file_once(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text); SELECT pg_sleep(0.1)")
    (tmp_path / "002_fill.sql").write_text("INSERT INTO jars VALUES ('sweets')")
    url = await stage.new_database("together")
    async with AsyncExitStack() as stack:
        instances = [await stack.enter_async_context(Database(url)) for _ in range(5)]
        await asyncio.gather(*(migrate(each, tmp_path) for each in instances))
        assert await instances[0].value("SELECT count(*) FROM jars") == 1


async def test_a_file_that_fails_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text)")
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE lids (name text); SELECT nothing")
    with pytest.raises(asyncpg.PostgresError):
        await migrate(database, tmp_path)
    assert await database.value("SELECT to_regclass('jars')") is None
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE lids (name text)")
    await migrate(database, tmp_path)
    assert len(await applied(database)) == 3


async def test_a_file_changed_afterwards_is_refused(database: Database, tmp_path: Path) -> None:
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text)")
    await migrate(database, tmp_path)
    (tmp_path / "001_jars.sql").write_text("CREATE TABLE jars (name text, size integer)")
    with pytest.raises(MigrationChanged, match=r"001_jars\.sql"):
        await migrate(database, tmp_path)


@pytest.mark.parametrize("name", ["1_jars.sql", "jars.sql", "001-jars.sql", "001_Jars.sql"])
async def test_a_misnamed_file_is_refused_before_anything_happens(
    database: Database, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("CREATE TABLE jars (name text)")
    with pytest.raises(MigrationMisnamed, match=name):
        await migrate(database, tmp_path)
    assert await database.value("SELECT to_regclass('migrations')") is None
