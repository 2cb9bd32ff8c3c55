"""An instance takes calls as long as it can serve them, says at once when it cannot, and why."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from mercato.mesh.v1 import mesh_pb2
from mercato.operations.v1 import operations_pb2 as pb
from mercato.operations.v1.operations_pb2_grpc import InstanceServiceStub

import chassis.readiness
from chassis.app import App
from chassis.clock import SystemClock
from chassis.connections import MOST
from chassis.errors import InvalidArgument
from chassis.instance import INSTANCE
from chassis.readiness import DatabaseLook, Missing, Readiness
from tests.chassis.engines import Engine, nats_engine, postgres_engine
from tests.chassis.probe import CATALOG, Probe, serving
from tests.chassis.test_registration import Mesh
from tests.stage import Stage, eventually

SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


class Steps(SystemClock):
    """A clock that waits until it is told to go on."""

    def __init__(self) -> None:
        self._go = asyncio.Semaphore(0)
        self._waits = asyncio.Semaphore(0)

    async def sleep(self, delay_s: float) -> None:
        self._waits.release()
        await self._go.acquire()

    async def looked(self) -> None:
        """Wait until it has been looked once."""
        await self._waits.acquire()

    async def look_again(self) -> None:
        """Have it look once more."""
        self._go.release()
        await self.looked()


class Thing:
    """Something to depend on."""

    problem: Missing | None = None

    async def look(self) -> None:
        if self.problem:
            raise self.problem


class Watched:
    """Readiness over one thing that is needed and one that is not, and what it told."""

    def __init__(self) -> None:
        self.clock = Steps()
        self.needed, self.optional = Thing(), Thing()
        self.told: list[str] = []
        self.readiness = Readiness(self.clock)
        self.readiness.add("database", self.needed.look)
        self.readiness.add("bus", self.optional.look, optional=True)

    async def tell(self, problem: str) -> None:
        self.told.append(problem)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    running = asyncio.create_task(watched.readiness.run(watched.tell))
    await watched.clock.looked()
    yield watched
    running.cancel()


async def test_what_is_certain_counts_at_once_and_is_over_at_once(watched: Watched) -> None:
    watched.needed.problem = Missing("connection refused")
    await watched.clock.look_again()
    assert watched.told == ["database: connection refused"]
    await watched.clock.look_again()
    watched.needed.problem = None
    await watched.clock.look_again()
    assert watched.told == ["database: connection refused", ""]


async def test_that_it_is_back_is_no_warning(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "chassis.readiness")
    for problem in (Missing("connection refused"), None):
        watched.needed.problem = problem
        await watched.clock.look_again()
    said = [(record.levelname, record.message) for record in caplog.records]
    assert said == [("WARNING", "database is missing"), ("INFO", "database is back")]


async def test_a_doubt_counts_when_it_lasts(watched: Watched) -> None:
    doubt = Missing("no answer within 2 s", certain=False)
    for problem in (doubt, None, doubt):
        watched.needed.problem = problem
        await watched.clock.look_again()
    assert watched.told == []
    await watched.clock.look_again()
    assert watched.told == ["database: no answer within 2 s"]


async def test_what_it_can_do_without_is_told_and_keeps_it_from_nothing(watched: Watched) -> None:
    before = watched.readiness.dependencies[1].since
    watched.optional.problem = Missing("not connected")
    await watched.clock.look_again()
    bus = watched.readiness.dependencies[1]
    assert (bus.problem, watched.readiness.problem, watched.told) == ("not connected", "", [])
    assert bus.since > before


async def test_a_database_that_accepts_and_never_answers_is_a_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.readiness, "TIMEOUT_S", 0.05)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, DatabaseLook(f"postgresql://nobody@127.0.0.1:{port}/none?sslmode=disable") as look:
        with pytest.raises(Missing) as missing:
            await look()
    assert (missing.value.certain, missing.value.problem) == (False, "no answer within 0.05 s")


async def test_a_database_that_does_not_exist_is_certain(postgres_url: str) -> None:
    async with DatabaseLook(postgres_url.rsplit("/", 1)[0] + "/nowhere") as look:
        with pytest.raises(Missing, match='database "nowhere" does not exist') as missing:
            await look()
    assert missing.value.certain


async def test_a_host_that_nobody_knows_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    async def unknown(url: str) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncpg, "connect", unknown)
    async with DatabaseLook("postgresql://nobody@nowhere/none") as look:
        with pytest.raises(Missing, match="its host is not known"):
            await look()


async def test_a_connection_that_broke_says_nothing_of_the_database(stage: Stage) -> None:
    url = await stage.new_database("broken")
    async with DatabaseLook(url) as look:
        await look()
        assert look._connection
        look._connection.terminate()
        await look()


@pytest.fixture
def none(tmp_path: Path) -> Path:
    """A folder without migrations."""
    (folder := tmp_path / "none").mkdir()
    return folder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chassis.readiness, "LOOK_S", 0.02)


class Running:
    """One instance that runs, with engines of its own, as it looks from outside."""

    def __init__(self, app: App, channel: grpc.aio.Channel) -> None:
        self.app = app
        self._health: Any = HealthStub(channel)
        stub: Any = InstanceServiceStub(channel)
        self.stub: InstanceServiceStub = stub

    async def health(self, name: str = "") -> int:
        """Return what it says of its health."""
        status: int = (await self._health.Check(HealthCheckRequest(service=name))).status
        return status

    async def instance(self) -> pb.Instance:
        """Return what it says of itself."""
        return (await self.stub.GetInstance(pb.GetInstanceRequest())).instance

    async def says(self, status: int) -> None:
        """Wait until it says so of its health."""

        async def said() -> bool:
            return await self.health() == status

        await eventually(said)


@asynccontextmanager
async def running(stage: Stage, folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Run one instance that has a database and a bus."""

    async def compose(app: App) -> None:
        await app.open_database(folder)
        await app.open_bus()
        app.serve(CATALOG, Probe(CATALOG))

    async with AsyncExitStack() as stack:
        own = Stage(stage.postgres_url, stage.nats_url, stack)
        app = await own.start("catalog", compose, **settings)
        async with grpc.aio.insecure_channel(own.targets["catalog"]) as channel:
            yield Running(app, channel)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Engine]:
    async with postgres_engine(tmp_path) as engine:
        yield engine


@pytest.mark.usefixtures("impatient")
async def test_without_its_database_it_takes_no_calls_says_why_to_all_and_comes_back(
    stage: Stage, none: Path, database: Engine
) -> None:
    mesh = Mesh()
    address = await mesh.start(stage)
    async with running(stage, none, database_url=database.url, mesh=address) as catalog:
        assert (await mesh.hears()).state == mesh_pb2.Instance.STATE_SERVING
        await catalog.says(SERVING)
        await database.kill()
        await catalog.says(NOT_SERVING)
        assert await catalog.health(CATALOG.full_name) == NOT_SERVING
        assert await catalog.health("live") == SERVING

        async def says_why() -> bool:
            instance = await catalog.instance()
            lacking = {each.name: each.problem for each in instance.dependencies if not each.available}
            return (instance.ready, lacking) == (False, {"database": "connection refused"})

        await eventually(says_why)  # who met it as it ended was told that it broke off
        while (told := await mesh.hears()).reason != "database: connection refused":
            pass
        assert told.state == mesh_pb2.Instance.STATE_UNHEALTHY
        await database.start()
        await catalog.says(SERVING)
        while (told := await mesh.hears()).state != mesh_pb2.Instance.STATE_SERVING:
            pass
        assert told.reason == ""
        assert (await catalog.instance()).ready


@pytest.mark.usefixtures("impatient")
async def test_a_pool_that_is_all_lent_is_no_failure(stage: Stage, none: Path) -> None:
    async with running(stage, none) as catalog, AsyncExitStack() as lent:
        for _ in range(MOST):
            await lent.enter_async_context(catalog.app.database.connection())
        catalog.app.readiness.dependencies[0].problem = "not looked at yet"

        async def looked() -> bool:
            return not catalog.app.readiness.dependencies[0].problem

        await eventually(looked)
        assert await catalog.health() == SERVING


@pytest.mark.usefixtures("impatient")
async def test_without_bus_and_mesh_it_serves_on_and_says_so(stage: Stage, tmp_path: Path, none: Path) -> None:
    async with (
        nats_engine(tmp_path) as bus,
        running(stage, none, nats_url=bus.url, mesh="127.0.0.1:1") as catalog,
    ):
        await bus.kill()

        async def lacks_both() -> bool:
            lacking = [each.name for each in (await catalog.instance()).dependencies if not each.available]
            return lacking == ["bus", "mesh"]

        await eventually(lacks_both)
        instance = await catalog.instance()
        assert all(each.optional and each.problem for each in instance.dependencies if not each.available)
        assert instance.ready
        assert await catalog.health() == SERVING


async def test_a_service_without_anything_is_ready_and_says_who_it_is(stage: Stage) -> None:
    await stage.start("catalog", serving(Probe(CATALOG)), version="v3")
    async with grpc.aio.insecure_channel(stage.targets["catalog"]) as channel:
        stub: Any = InstanceServiceStub(channel)
        instance = (await stub.GetInstance(pb.GetInstanceRequest())).instance
    assert (instance.name, instance.service, instance.version) == ("catalog/1", "catalog", "v3")
    assert instance.ready
    assert not instance.dependencies


async def test_who_ends_is_alive_but_takes_no_calls(stage: Stage) -> None:
    async with AsyncExitStack() as stack:
        own = Stage(stage.postgres_url, stage.nats_url, stack)
        await own.start("catalog", serving(Probe(CATALOG)), drain_s=0.5)
        async with grpc.aio.insecure_channel(own.targets["catalog"]) as channel:
            health: Any = HealthStub(channel)
            watch = health.Watch(HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            ending = asyncio.create_task(stack.aclose())
            assert (await watch.read()).status == NOT_SERVING
            assert (await health.Check(HealthCheckRequest(service="live"))).status == SERVING
            await ending


class TestLogLevel:
    @pytest.fixture(autouse=True)
    def level(self) -> Iterator[None]:
        root = logging.getLogger()
        before = root.level
        root.setLevel(logging.INFO)
        yield
        root.setLevel(before)

    @pytest.fixture
    async def stub(self, stage: Stage) -> InstanceServiceStub:
        await stage.start("catalog", serving(Probe(CATALOG)))
        stage.targets["operations"] = stage.targets["catalog"]
        return stage.stub(INSTANCE, InstanceServiceStub)

    async def test_it_is_changed_while_it_runs(
        self, stub: InstanceServiceStub, caplog: pytest.LogCaptureFixture
    ) -> None:
        logging.getLogger().addHandler(caplog.handler)
        answer = await stub.SetLogLevel(pb.SetLogLevelRequest(level=pb.LOG_LEVEL_WARNING))
        assert answer.previous_level == pb.LOG_LEVEL_INFO
        caplog.clear()
        assert (await stub.GetInstance(pb.GetInstanceRequest())).instance.log_level == pb.LOG_LEVEL_WARNING
        assert "call" not in caplog.messages
        await stub.SetLogLevel(pb.SetLogLevelRequest(level=pb.LOG_LEVEL_DEBUG))
        await stub.GetInstance(pb.GetInstanceRequest())
        assert "call" in caplog.messages

    @pytest.mark.parametrize("level", [pb.LOG_LEVEL_UNSPECIFIED, 9])
    async def test_only_to_one_that_there_is(self, stub: InstanceServiceStub, level: Any) -> None:
        with pytest.raises(InvalidArgument) as refused:
            await stub.SetLogLevel(pb.SetLogLevelRequest(level=level))
        assert list(refused.value.fields) == ["level"]
