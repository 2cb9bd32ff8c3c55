"""The mesh dies and comes back: clients go on, policies survive, registrations return."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mercato.mesh.v1 import mesh_pb2 as pb

from chassis.database import Database
from fleet import ports
from tests.mesh.world import ENVIRONMENT, ROOT, Client
from tests.mesh.world import world as open_world
from tests.stage import Stage, eventually

SERVING, UNHEALTHY = pb.Instance.STATE_SERVING, pb.Instance.STATE_UNHEALTHY


@asynccontextmanager
async def mesh_process(port: int, database_url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    told = {"MERCATO_PORT": str(port), "MERCATO_DATABASE_URL": database_url, "MERCATO_LOG_LEVEL": "ERROR"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.mesh", cwd=ROOT, env={**ENVIRONMENT, **told}
    )
    try:
        await eventually(lambda: ports.listens(ports.LOOPBACK, port), timeout_s=20)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_clients_go_on_while_the_mesh_is_dead_and_catch_up_when_it_is_back(stage: Stage) -> None:
    [port] = ports.free_block(1)
    database_url = await stage.new_database("mesh")
    async with open_world(f"127.0.0.1:{port}") as world:
        service = world.new_service()
        client = world.client(service)
        async with mesh_process(port, database_url) as mesh:
            first, second, third = await world.members(service, 3)
            await client.until(lambda calls: len(calls.answers) == 3)
            await world.policy(service, drained_instances=[third.name])
            await client.until(lambda calls: len(calls.answers) == 2)
            await eventually(lambda: _stored(database_url, 3))
            mesh.kill()
            await mesh.wait()
        failed = asyncio.create_task(_failed_during(client, 1.0))
        await second.leave()  # it would register again, but not in time
        await third.leave()
        added = asyncio.create_task(world.member(f"{service}/4"))
        assert await failed == 0
        async with mesh_process(port, database_url):
            failed = asyncio.create_task(_failed_during(client, 1.0))
            await world.reaches(first.name, SERVING)
            state = await world.state(service)
            assert {each.name for each in state.instances} >= {first.name, second.name, third.name}
            assert list(state.policy.drained_instances) == [third.name]
            await added
            await client.until(lambda calls: f"{service}/4" in calls.answers)
            assert await failed == 0
            await world.reaches(second.name, UNHEALTHY)  # its lease was not renewed


async def _stored(database_url: str, count: int) -> bool:
    async with Database(database_url) as database:
        return bool(await database.value("SELECT count(*) = $1 FROM instances", count))


async def _failed_during(client: Client, duration_s: float) -> int:
    failed, end = 0, asyncio.get_running_loop().time() + duration_s
    while asyncio.get_running_loop().time() < end:
        failed += (await client.calls(20, at_once=2)).errors.total()
    return failed
