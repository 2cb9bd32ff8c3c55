"""The engines from wheels, as every other test suite uses them."""

from __future__ import annotations

import os
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest

from fleet import databases, embedded
from fleet.errors import FleetError


async def test_postgres_keeps_its_data_and_leaves_no_process(tmp_path: Path) -> None:
    async with embedded.postgres(tmp_path / "pg") as url:
        connection = await asyncpg.connect(url)
        server = psutil.Process(await connection.fetchval("SELECT pg_backend_pid()")).parent()
        assert server is not None
        started = [server, *server.children(recursive=True)]
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert await connection.fetchval("SHOW fsync") == "on"
        assert await connection.fetchval("SHOW max_connections") == "300"
        assert await connection.fetchval("SHOW log_error_verbosity") == "terse", "rows are nothing for a log"
        await connection.close()
    assert not [process for process in started if process.is_running()]
    async with embedded.postgres(tmp_path / "pg") as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()


async def test_postgres_works_below_a_folder_closed_to_other_users(tmp_path: Path) -> None:
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    async with embedded.postgres(closed / "pg") as url:
        connection = await asyncpg.connect(url)
        owner = await connection.fetchval("SELECT pg_backend_pid()")
        assert psutil.Process(owner).uids().effective != 0
        await connection.close()
    assert closed.stat().st_mode & 0o777 == 0o700


async def test_postgres_takes_its_folder_back_after_all_was_given_to_another_user(tmp_path: Path) -> None:
    async with embedded.postgres(tmp_path / "pg"):
        pass
    for path in (tmp_path / "pg", *(tmp_path / "pg").rglob("*")):
        os.chown(path, os.geteuid(), -1)
    async with embedded.postgres(tmp_path / "pg") as url:
        assert await databases.answers(url)


async def test_postgres_refuses_a_wrong_password(tmp_path: Path) -> None:
    async with embedded.postgres(tmp_path / "pg") as url:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(url, password="guess")


async def test_an_engine_that_cannot_start_is_reported(tmp_path: Path) -> None:
    (tmp_path / "pg" / "data").mkdir(parents=True)
    if os.geteuid() == 0:
        (tmp_path / "pg").chmod(0o700)
    with pytest.raises(FleetError):
        async with embedded.postgres(tmp_path / "pg"):
            pass


async def test_nats_keeps_its_streams(tmp_path: Path) -> None:
    async with embedded.nats(tmp_path / "nats") as url:
        client = await nats.connect(url)
        await client.jetstream().add_stream(name="trade", subjects=["trade.>"])
        await client.jetstream().publish("trade.sold", b"teapot")
        await client.close()
    async with embedded.nats(tmp_path / "nats") as url:
        client = await nats.connect(url)
        assert (await client.jetstream().get_msg("trade", seq=1)).data == b"teapot"
        await client.close()
