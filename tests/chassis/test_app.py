"""An instance as a process: it waits for what it needs, carries on after failures, and ends when asked to."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import orjson
import pytest

import chassis.tasks
from chassis.app import App
from chassis.errors import Unavailable
from fleet import ports
from tests.chassis.engines import postgres_engine
from tests.chassis.probe import CATALOG, Probe
from tests.stage import Stage, eventually

ROOT = Path(__file__).parent.parent.parent
SERVICE = """
from pathlib import Path
from chassis.app import run
from tests.chassis.probe import CATALOG, Probe

async def compose(app):
    await app.open_database(Path({folder!r}))
    app.serve(CATALOG, Probe(CATALOG))

run("catalog", compose)
"""


class Process:
    """A service in a process of its own, and its logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.messages: list[str] = []

    async def says(self, message: str) -> None:
        """Wait until it logs that."""
        assert self._process.stdout
        async with asyncio.timeout(20):
            while message not in self.messages:
                line = await self._process.stdout.readline()
                assert line, self.messages
                self.messages.append(orjson.loads(line)["message"])

    async def ends(self) -> int:
        """Ask it to end; returns its exit code."""
        assert self._process.stdout
        self._process.send_signal(signal.SIGTERM)
        rest = await asyncio.wait_for(self._process.stdout.read(), 5)
        self.messages += [orjson.loads(line)["message"] for line in rest.splitlines()]
        return await self._process.wait()


@asynccontextmanager
async def process(folder: Path, database_url: str) -> AsyncIterator[Process]:
    environment = {
        **os.environ, "PYTHONPATH": ".:generated", "MERCATO_DATABASE_URL": database_url, "MERCATO_PORT": "0",
        "MERCATO_DRAIN_S": "0",
    }  # fmt: skip
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE.format(folder=str(folder)),
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Process(started)
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


async def test_an_instance_serves_until_it_is_asked_to_end(stage: Stage, tmp_path: Path) -> None:
    async with process(tmp_path, await stage.new_database("app")) as service:
        await service.says("serving")
        assert await service.ends() == 0
        assert service.messages[-1] == "stopped"


async def test_an_instance_ends_when_asked_to_also_while_it_waits_to_start(tmp_path: Path) -> None:
    [port] = ports.free_block(1)
    async with process(tmp_path, f"postgresql://nobody@127.0.0.1:{port}/nowhere") as service:
        await service.says("start waits")
        assert await service.ends() == 0


async def test_an_instance_waits_for_its_database(tmp_path: Path) -> None:
    async with postgres_engine(tmp_path) as engine:
        await engine.kill()
        (tmp_path / "none").mkdir()
        async with process(tmp_path / "none", engine.url) as service:
            await service.says("start waits")
            await engine.start()
            await service.says("serving")
            assert await service.ends() == 0


@pytest.mark.parametrize(
    ("service", "variable", "expected"),
    [
        ("orders", "MERCATO_PORT", "a whole number, zero or more"),
        ("telemetry", "MERCATO_TELEMETRY_RETENTION_H", "hours, up to 8760"),
    ],
    ids=["of_every_service", "of_one_service"],
)
async def test_a_setting_that_cannot_be_read_ends_it_with_one_line(service: str, variable: str, expected: str) -> None:
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", f"services.{service}", cwd=ROOT,
        env={**os.environ, "PYTHONPATH": ".:generated", variable: "x"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(started.communicate(), 20)
    assert said.decode() == f"The environment variable {variable} is 'x'; expected {expected}.\n"
    assert started.returncode == 1


async def test_background_work_that_fails_is_logged_and_done_again(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chassis.tasks, "AGAIN_S", 0.01)
    tries: list[None] = []

    async def work() -> None:
        tries.append(None)
        if len(tries) == 1:
            raise KeyError("a defect")
        if len(tries) == 2:
            raise Unavailable
        await asyncio.sleep(60)

    async def compose(app: App) -> None:
        app.serve(CATALOG, Probe(CATALOG))
        app.background(work)

    async def third_try() -> bool:
        return len(tries) == 3

    with caplog.at_level(logging.WARNING):
        async with AsyncExitStack() as stack:
            own = Stage(stage.postgres_url, stage.nats_url, stack)
            await own.start("catalog", compose)
            await eventually(third_try)
    failed, waits = (record for record in caplog.records if record.name == "chassis.tasks")
    assert (failed.levelname, failed.message) == ("ERROR", "background work failed")
    assert failed.exc_info
    assert (waits.levelname, waits.message) == ("WARNING", "background work waits")
    assert not [task for task in asyncio.all_tasks() if "_endless" in repr(task)]


async def test_work_that_waits_is_called_as_its_code_calls_it(caplog: pytest.LogCaptureFixture) -> None:
    class Recorder:
        async def record(self) -> None:
            raise Unavailable

    async def every(_period_s: float, work: Callable[[], Awaitable[None]]) -> None:
        await work()

    task = asyncio.create_task(chassis.tasks.endless(partial(every, 1.0, Recorder().record)))

    async def told() -> bool:
        return bool(caplog.records)

    await eventually(told)
    await chassis.tasks.cancel([task])
    assert caplog.records[0].__dict__["work"].endswith("Recorder.record")


async def test_last_work_is_done_when_all_else_has_ended_and_holds_up_no_end(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    async def until_cancelled() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            done.append("background")

    async def hang() -> None:
        await asyncio.Event().wait()

    async def fail() -> None:
        raise KeyError("a defect")

    async def last() -> None:
        done.append("last")

    async def compose(app: App) -> None:
        app.serve(CATALOG, Probe(CATALOG))
        app.background(until_cancelled)
        for work in (hang, fail, last):
            app.at_end(work)

    async with AsyncExitStack() as stack:
        await Stage(stage.postgres_url, stage.nats_url, stack).start("catalog", compose, grace_s=0.05)
        await asyncio.sleep(0)
    assert done == ["background", "last"]
    assert sorted(record.message for record in caplog.records if record.name == "chassis.tasks") == [
        "last work failed", "last work was left undone"
    ]  # fmt: skip


async def test_a_start_that_fails_leaves_nothing_open(stage: Stage, tmp_path: Path) -> None:
    async def compose(app: App) -> None:
        await app.open_database(tmp_path)
        await app.open_bus()
        raise KeyError("a defect")

    before = len(asyncio.all_tasks())
    with pytest.raises(KeyError):
        async with AsyncExitStack() as stack:
            await Stage(stage.postgres_url, stage.nats_url, stack).start("catalog", compose)

    async def all_gone() -> bool:
        return len(asyncio.all_tasks()) <= before

    await eventually(all_gone)
