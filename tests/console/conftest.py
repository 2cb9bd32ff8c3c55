"""A real browser in front of the whole suite while it trades."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import pytest

from fleet import lifecycle, ports
from fleet import plan as plans
from fleet.plan import FRONT, Plan
from loadtest.commands import DEMO_DAY

try:
    from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect
except ModuleNotFoundError:
    raise pytest.UsageError("tests/console needs: pip install -r tests/console/requirements.txt") from None

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60.0
SPEED = 450
"""So many times as fast as it was a day is traded: nine hours in more than a minute."""

PATIENCE_MS = 20_000
"""So long a page has for what it is to show."""

Scheme = Literal["light", "dark"]

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
    "--disable-component-update",
]


@dataclass
class Watch:
    """What a browser did that it may not: errors it told of, requests to others than the gateway."""

    host: str
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        """Look on all pages of a context."""
        context.on("console", self._message)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))
        context.on("request", lambda request: self._request(request.url))

    def _message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location}")

    def _request(self, url: str) -> None:
        if urlsplit(url).netloc != self.host:
            self.strangers.append(url)


@pytest.fixture(scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plan]:
    """The whole suite, every request traced, for all tests here."""
    home = tmp_path_factory.mktemp("fleet") / ".mercato"
    http_port, grpc_port = ports.free_block(2)

    def plan() -> Plan:
        return plans.make(ROOT, home, {}, http_port=http_port, grpc_port=grpc_port)

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MERCATO_TRACES_PER_SECOND", "1000")
        await lifecycle.up(home, plan, TIMEOUT_S)
    yield Plan.load(home)
    lifecycle.down(home, TIMEOUT_S)


@pytest.fixture(scope="session")
async def url(fleet: Plan) -> str:
    """Where the gateway answers."""
    return f"http://localhost:{fleet.slot(f'{FRONT}/1').http_port}"


@pytest.fixture(scope="session")
async def api(url: str) -> AsyncIterator[aiohttp.ClientSession]:
    """The gateway, as programs ask it."""
    async with aiohttp.ClientSession(url) as session:
        yield session


@pytest.fixture(scope="session")
async def traded(fleet: Plan) -> None:
    """A day was traded, with cards that decline, and it added up."""
    process = await replay(fleet, "--day", f"{DEMO_DAY:%Y-%m-%d}", "--decline", "20")
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


@pytest.fixture
async def trading(fleet: Plan, traded: None) -> AsyncIterator[None]:
    """The next day is traded, for as long as a test looks on."""
    process = await replay(fleet, "--day", f"{DEMO_DAY + timedelta(days=1):%Y-%m-%d}", "--speed", str(SPEED))
    yield
    assert process.returncode is None, "the day was over too early"
    process.terminate()
    await process.communicate()


async def replay(fleet: Plan, *options: str) -> asyncio.subprocess.Process:
    """Begin a replay as a user does."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet", "replay", *options,
        cwd=ROOT, env={**os.environ, "MERCATO_HOME": str(fleet.home)},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("tests/console needs Debian's Chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        await opened.close()


@pytest.fixture
async def page(browser: Browser, url: str) -> AsyncIterator[Page]:
    """A page that may neither tell of an error nor ask another host."""
    watch = Watch(urlsplit(url).netloc)
    async with await browser.new_context(base_url=url, viewport={"width": 1440, "height": 900}) as context:
        watch.over(context)
        context.set_default_timeout(PATIENCE_MS)
        yield await context.new_page()
    assert not watch.strangers
    assert not watch.errors
