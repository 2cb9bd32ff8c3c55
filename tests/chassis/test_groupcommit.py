"""Many batches in one commit: each answered as if it had been alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

import chassis.groupcommit
from chassis.database import Batch, Database, UnexpectedRows
from chassis.groupcommit import GroupCommit, TooManyWaiting
from tests.stage import Stage


@pytest.fixture(scope="module")
async def database(stage: Stage) -> AsyncIterator[Database]:
    async with Database(await stage.new_database("group")) as database:
        await database.value("CREATE TABLE jars (name text PRIMARY KEY, sweets integer NOT NULL CHECK (sweets >= 0))")
        yield database


@pytest.fixture
async def group(database: Database) -> AsyncIterator[GroupCommit]:
    await database.value("TRUNCATE jars")
    await database.value("INSERT INTO jars VALUES ('jar', 50)")
    group = GroupCommit(database)
    running = asyncio.create_task(group.run())
    yield group
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def taking(number: int, jar: str = "jar") -> Batch:
    batch = Batch()
    batch.add("UPDATE jars SET sweets = sweets - $1 WHERE name = $2 RETURNING 1", number, jar, rows=1)
    return batch


async def left(database: Database) -> int:
    sweets: int = await database.value("SELECT sweets FROM jars WHERE name = 'jar'")
    return sweets


async def test_what_many_take_at_once_is_taken_once_each(group: GroupCommit, database: Database) -> None:
    await asyncio.gather(*(group.commit(taking(1)) for _ in range(50)))
    assert await left(database) == 0


async def test_of_many_that_want_too_much_together_each_is_answered_for_itself(
    group: GroupCommit, database: Database
) -> None:
    batches = [taking(1) for _ in range(200)] + [taking(1, "no such jar")]
    results = await asyncio.gather(*(group.commit(batch) for batch in batches), return_exceptions=True)
    assert results.count(None) == 50
    assert sum(isinstance(result, asyncpg.CheckViolationError) for result in results) == 150
    assert isinstance(results[-1], UnexpectedRows)
    assert await left(database) == 0


async def test_who_gives_up_waiting_leaves_the_others_alone(group: GroupCommit, database: Database) -> None:
    patient = [asyncio.create_task(group.commit(taking(1))) for _ in range(10)]
    impatient = [asyncio.create_task(group.commit(taking(1))) for _ in range(10)]
    await asyncio.sleep(0)
    for task in impatient:
        task.cancel()
    await asyncio.gather(*patient)
    await group.commit(taking(0))
    assert 30 <= await left(database) <= 40


async def test_no_more_than_so_many_wait(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.groupcommit, "MOST_WAITING", 3)
    group = GroupCommit(database)  # nobody writes
    waiting = [asyncio.create_task(group.commit(taking(1))) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(TooManyWaiting):
        await group.commit(taking(1))
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
