"""Batches that commit as one statement, and what happens to a pool when its server goes and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from chassis.connections import MOST, DatabaseUnavailable
from chassis.database import (
    Batch,
    ConcurrentChange,
    Database,
    Deadlock,
    RequestRepeated,
    UnexpectedRows,
    execute,
)
from chassis.migrations import migrate
from tests.chassis.engines import postgres_engine
from tests.stage import Stage, eventually

TABLE = "CREATE TABLE jars (name text PRIMARY KEY, sweets integer NOT NULL CHECK (sweets >= 0))"
REQUEST = "INSERT INTO requests VALUES ('tests', $1, '', '', now())"
EVENT = "INSERT INTO events (subject, version, type, payload, create_time, trace) VALUES ($1, $2, '', '', now(), '')"


@pytest.fixture(scope="module")
async def opened(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Database]:
    async with Database(await stage.new_database("batches")) as database:
        await migrate(database, tmp_path_factory.mktemp("none"))
        await database.value(TABLE)
        yield database


@pytest.fixture
async def database(opened: Database) -> Database:
    await opened.value("TRUNCATE jars, events, requests")
    return opened


async def jars(database: Database) -> dict[str, int]:
    return {row["name"]: row["sweets"] for row in await database.rows("SELECT * FROM jars")}


def filled(**sweets: int) -> Batch:
    batch = Batch()
    for name, number in sweets.items():
        batch.add("INSERT INTO jars VALUES ($1, $2)", name, number)
    return batch


async def test_every_statement_of_a_batch_has_parameters_of_its_own(database: Database) -> None:
    batch = Batch()
    batch.add("INSERT INTO jars VALUES ($2, $1), ($2 || $3, $1 + 1)", 1, "a", "b")
    batch.add("INSERT INTO jars SELECT name, 7 FROM unnest($1::text[]) AS n (name)", ["x", "y"])
    batch.add("INSERT INTO jars VALUES ('no parameters', 0)")
    ten = "$1::int + $2::int + $3::int + $4::int + $5::int + $6::int + $7::int + $8::int + $9::int + $10::int"
    batch.add(f"INSERT INTO jars SELECT 'ten', {ten}", *range(10))  # $1 is not the start of $10
    await database.commit(batch)
    assert await jars(database) == {"a": 1, "ab": 2, "x": 7, "y": 7, "no parameters": 0, "ten": 45}


async def test_a_statement_reads_what_a_named_one_returned(database: Database) -> None:
    await database.commit(filled(full=5, empty=0))
    batch = Batch()
    batch.add("UPDATE jars SET sweets = sweets - $2 WHERE name = $1 RETURNING sweets", "full", 3, name="taken")
    batch.add("INSERT INTO jars SELECT $1, sweets FROM taken", "left")
    await database.commit(batch)
    assert await jars(database) == {"full": 2, "empty": 0, "left": 2}


async def test_statements_see_the_database_as_it_was_before(database: Database) -> None:
    batch = filled(a=1)
    batch.add("INSERT INTO jars SELECT 'copy of ' || name, sweets FROM jars")
    await database.commit(batch)
    assert await jars(database) == {"a": 1}


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_number_of_rows_than_expected_undoes_all(database: Database, expected: int) -> None:
    await database.commit(filled(a=1, b=1))
    batch = filled(new=1)
    batch.add("UPDATE jars SET sweets = 0 WHERE sweets = $1 RETURNING 1", 1, rows=expected)
    with pytest.raises(UnexpectedRows):
        await database.commit(batch)
    assert await jars(database) == {"a": 1, "b": 1}


async def test_a_single_statement_is_held_to_its_rows_too(database: Database) -> None:
    batch = Batch()
    batch.add("INSERT INTO jars VALUES ('a', 1) RETURNING 1", rows=2)
    with pytest.raises(UnexpectedRows):
        await database.commit(batch)
    assert await jars(database) == {}


async def test_a_broken_constraint_undoes_all(database: Database) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await database.commit(filled(good=1, bad=-1))
    assert await jars(database) == {}


async def test_a_batch_takes_another_in(database: Database) -> None:
    batch, other = filled(a=1), filled(b=2)
    other.add("UPDATE jars SET sweets = 1 WHERE name = $1 RETURNING 1", "nobody", rows=1)
    batch.extend(other)
    with pytest.raises(UnexpectedRows):
        await database.commit(batch)
    batch = filled(a=1)
    batch.extend(filled(b=2, c=3))
    assert batch
    await database.commit(batch)
    assert await jars(database) == {"a": 1, "b": 2, "c": 3}


async def test_an_empty_batch_is_no_transaction(database: Database) -> None:
    assert not Batch()
    await database.commit(Batch())


async def test_who_comes_second_is_told(database: Database) -> None:
    request_id = "0af76519-16cd-43dd-8448-eb211c80319c"
    first, repeated = Batch(), filled(a=1)
    first.add(REQUEST, request_id)
    repeated.add(REQUEST, request_id)
    await database.commit(first)
    with pytest.raises(RequestRepeated):
        await database.commit(repeated)
    first, late = Batch(), filled(a=1)
    first.add(EVENT, "jars/1", 1)
    late.add(EVENT, "jars/1", 1)
    await database.commit(first)
    with pytest.raises(ConcurrentChange):
        await database.commit(late)
    await database.commit(filled(twice=1))
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.commit(filled(twice=1))
    assert await jars(database) == {"twice": 1}


async def test_of_two_that_wait_for_each_other_one_is_told_to_try_again(database: Database) -> None:
    await database.commit(filled(a=1, b=1))
    both_hold_one = asyncio.Barrier(2)

    async def take(first: str, second: str) -> None:
        async with database.transaction() as connection:
            await connection.execute("UPDATE jars SET sweets = 2 WHERE name = $1", first)
            await both_hold_one.wait()
            batch = Batch()
            batch.add("UPDATE jars SET sweets = 3 WHERE name = $1", second)
            await execute(connection, batch)

    results = await asyncio.gather(take("a", "b"), take("b", "a"), return_exceptions=True)
    assert [type(result) for result in results if result] == [Deadlock]


async def test_a_statement_used_wrongly_is_a_defect_and_no_outage(database: Database) -> None:
    with pytest.raises(asyncpg.InterfaceError):
        await database.rows("SELECT $1::int", 1, 2)
    with pytest.raises(asyncpg.DataError):
        await database.rows("SELECT $1::int", "one")
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.rows("SELECT * FROM nowhere")


async def test_a_cancelled_statement_leaves_its_connection_usable(database: Database) -> None:
    for _ in range(15):  # more than the pool has
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await database.value("SELECT pg_sleep(10)")
    assert await asyncio.wait_for(database.value("SELECT 1"), 2) == 1


async def test_so_many_statements_run_at_once_and_the_rest_in_turn(database: Database) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    await asyncio.gather(*(database.value("SELECT pg_sleep(0.01)") for _ in range(3 * MOST)))
    assert await database.value(query) == MOST


async def test_who_gives_up_waiting_for_a_connection_takes_none(database: Database) -> None:
    async with AsyncExitStack() as all_lent:
        for _ in range(MOST):
            await all_lent.enter_async_context(database.connection())
        waiting = [asyncio.create_task(database.value("SELECT 1")) for _ in range(3 * MOST)]
        await asyncio.wait(waiting, timeout=0.05)
        for task in waiting:
            task.cancel()
        assert {type(end) for end in await asyncio.gather(*waiting, return_exceptions=True)} == {asyncio.CancelledError}
    async with asyncio.timeout(5):
        assert await asyncio.gather(*(database.value("SELECT 1") for _ in range(MOST))) == [1] * MOST


async def test_a_statement_that_gives_up_is_cancelled_in_the_server(database: Database) -> None:
    await database.commit(filled(a=1))
    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE jars IN EXCLUSIVE MODE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await database.value("DELETE FROM jars")
    assert await jars(database) == {"a": 1}


@pytest.mark.parametrize("hangs_at", ["begin", "statement", "end"])
async def test_a_transaction_that_was_given_up_holds_nothing_that_comes_after(
    database: Database, hangs_at: str
) -> None:
    """Else what is committed later on its connection would be a part of it, and be gone with it."""
    backend = await database.value("SELECT pg_backend_pid()")

    async def hang(at: str) -> None:
        if at == hangs_at:
            os.kill(backend, signal.SIGSTOP)

    async def give_up() -> None:
        async with asyncio.timeout(0.1):
            await hang("begin")
            async with database.transaction() as connection:
                await hang("statement")
                await connection.execute("SELECT 1")
                await hang("end")

    try:
        with pytest.raises(TimeoutError):
            await give_up()
    finally:
        os.kill(backend, signal.SIGCONT)
    await database.commit(filled(a=1))
    await database.commit_all([filled(b=2)])
    async with Database(database.url) as another:
        assert await jars(another) == {"a": 1, "b": 2}


async def test_transactions_that_were_given_up_leave_no_statement_in_the_server(database: Database) -> None:
    async def left() -> int:
        return int(await database.value("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DELETE FROM jars%'"))

    async def none_left() -> bool:
        return await left() == 0

    async with database.transaction() as connection:
        await connection.execute("LOCK TABLE jars IN EXCLUSIVE MODE")
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05), database.transaction() as another:
                    await another.execute("DELETE FROM jars")
        await eventually(none_left)


async def test_a_server_that_restarts_is_an_outage_and_nothing_worse(tmp_path: Path) -> None:
    async with postgres_engine(tmp_path) as engine, Database(engine.url) as database:
        await database.value(TABLE)
        await asyncio.gather(*(database.value("SELECT pg_sleep(0.05)") for _ in range(10)))  # the pool is full now
        sleeping = asyncio.create_task(database.value("SELECT pg_sleep(10)"))
        await asyncio.sleep(0.1)
        await engine.kill()
        with pytest.raises(DatabaseUnavailable):
            await sleeping
        refused = await asyncio.gather(*(database.commit(filled(a=1)) for _ in range(20)), return_exceptions=True)
        assert {type(error) for error in refused} == {DatabaseUnavailable}
        await engine.start()
        await asyncio.gather(*(database.value("SELECT 1") for _ in range(30)))
        await database.commit(filled(a=1))
        assert await jars(database) == {"a": 1}


async def test_a_database_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(DatabaseUnavailable):
        await Database("postgresql://nobody@127.0.0.1:9/nowhere").__aenter__()


async def test_a_closed_database_is_an_outage(stage: Stage) -> None:
    async with Database(await stage.new_database("closed")) as database:
        pass
    with pytest.raises(DatabaseUnavailable):
        await database.value("SELECT 1")
