"""Real Prometheus and Alertmanager that watch a fleet as committed, and what they have to tell somebody."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from deploy.observability import generate
from deploy.observability.rules import Scale
from fleet import ports, targets
from fleet.plan import Plan
from fleet.waiting import until
from tests.prometheus.debian import HERE, program

SCALE = Scale(1 / 60)
"""An hour in a minute."""
_STOP_TIMEOUT_S = 10.0
_QUICK = {
    r"scrape_interval: \S+": "scrape_interval: 1s",
    r"evaluation_interval: \S+": "evaluation_interval: 1s",
    r"refresh_interval: \S+": "refresh_interval: 1s",
    r"group_wait: \S+": "group_wait: 0s",
    r"group_interval: \S+": "group_interval: 1s",
}
"""What a test does not wait for, in the committed files."""


@dataclass
class Watch:
    """Prometheus as its users see it, and what Alertmanager told who is called."""

    url: str
    session: aiohttp.ClientSession
    told: list[dict[str, Any]] = field(default_factory=list)
    """Each notification, as Alertmanager's webhook sends it."""

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask Prometheus' API."""
        async with self.session.get(f"{self.url}/api/v1/{path}", params=parameters) as response:
            answer = await response.json()
        assert answer["status"] == "success", answer
        return answer["data"]

    async def values(self, query: str) -> list[float]:
        """Return what a query gives now, less what is no number: the part of no calls that was bad."""
        result = (await self.get("query", query=query))["result"]
        return [value for sample in result if not math.isnan(value := float(sample["value"][1]))]

    def is_told(self, status: str, **labels: str) -> bool:
        """Whether the last word about an alert is that it is `firing`, or `resolved`."""
        about = [
            alert["status"]
            for notification in self.told
            for alert in notification["alerts"]
            if labels.items() <= alert["labels"].items()
        ]
        return about[-1:] == [status]


@asynccontextmanager
async def watching(fleet: Plan, folder: Path) -> AsyncIterator[Watch]:
    """Watch a fleet with the committed configuration, its times shortened, from a folder that does not outlast it."""
    prometheus, alertmanager, receiver = ports.free_block(3)
    url = f"http://{ports.LOOPBACK}:{prometheus}"
    async with AsyncExitStack() as stack:
        watch = Watch(url, await stack.enter_async_context(aiohttp.ClientSession()))
        await stack.enter_async_context(_receiving(watch, receiver))
        config = _configure_alertmanager(folder / "alertmanager", f"http://{ports.LOOPBACK}:{receiver}/")
        await stack.enter_async_context(
            running(
                alertmanager,
                folder / "alertmanager.log",
                program("prometheus-alertmanager"),
                f"--config.file={config}",
                "--cluster.listen-address=",
                f"--storage.path={folder / 'silences'}",
            )
        )
        config = _configure_prometheus(folder / "prometheus", fleet, f"{ports.LOOPBACK}:{alertmanager}")
        await stack.enter_async_context(
            running(
                prometheus,
                folder / "prometheus.log",
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'series'}",
            )
        )
        yield watch


def _configure_prometheus(folder: Path, fleet: Plan, alertmanager: str) -> Path:
    shutil.copytree(HERE / "prometheus", folder)
    generate.write_rules(folder / "rules", SCALE)
    (folder / "targets" / "fleet.json").write_text(json.dumps(targets.of(fleet)))
    return _quickly(folder / "prometheus.yml", {r"127\.0\.0\.1:9093": alertmanager})


def _configure_alertmanager(folder: Path, receiver: str) -> Path:
    shutil.copytree(HERE / "alertmanager", folder)
    webhook = f"\\g<0>\n    webhook_configs: [{{url: {json.dumps(receiver)}}}]"
    return _quickly(folder / "alertmanager.yml", {r"- name: pager": webhook})


def _quickly(config: Path, changes: dict[str, str]) -> Path:
    text = config.read_text()
    for pattern, replacement in (_QUICK | changes).items():
        text = re.sub(pattern, replacement, text)
    config.write_text(text)
    return config


@asynccontextmanager
async def _receiving(watch: Watch, port: int) -> AsyncIterator[None]:
    """Take what Alertmanager tells by webhook."""

    async def take(request: web.Request) -> web.Response:
        watch.told.append(await request.json())
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, ports.LOOPBACK, port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(port: int, log: Path, *command: str) -> AsyncIterator[None]:
    """Run Prometheus or Alertmanager on a port, from when it is ready until it is not needed any more."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *command, f"--web.listen-address={ports.LOOPBACK}:{port}", stdout=output, stderr=output
        )
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await until(partial(_is_ready, port))
        yield
    finally:
        process.terminate()
        async with asyncio.timeout(_STOP_TIMEOUT_S):
            await process.wait()


async def _is_ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://{ports.LOOPBACK}:{port}/-/ready") as answer:
            return answer.status == HTTPStatus.OK
    except aiohttp.ClientError:
        return False
