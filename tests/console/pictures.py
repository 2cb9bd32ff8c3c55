"""Takes the pictures of the console for the docs, from a suite that trades: `python -m tests.console.pictures`."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

import aiohttp
from playwright.async_api import Browser, ViewportSize, async_playwright

from fleet import lifecycle, ports
from fleet import plan as plans
from fleet.plan import FRONT, Plan
from tests.console.conftest import FLAGS, ROOT, TIMEOUT_S, Scheme
from tests.console.test_live import newest

FOLDER = ROOT / "docs" / "console"
DESK, PHONE = ViewportSize(width=1360, height=850), ViewportSize(width=390, height=844)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
SETTLED_S = 20.0
"""For rates over the last ten seconds, and for the minute that the map remembers to get a shape."""


async def main() -> None:
    """Bring up a suite of its own, let it trade, take the pictures, end it."""
    home = Path(tempfile.mkdtemp(prefix="console-"))
    http_port, grpc_port = ports.free_block(2)
    os.environ["MERCATO_TRACES_PER_SECOND"] = "1000"
    await lifecycle.up(home, lambda: plans.make(ROOT, home, {}, http_port=http_port, grpc_port=grpc_port), TIMEOUT_S)
    try:
        await take(Plan.load(home))
    finally:
        lifecycle.down(home, TIMEOUT_S)
        shutil.rmtree(home)


async def take(plan: Plan) -> None:
    """Take all pictures while ten days are traded: two instances of orders, cards that decline, payments that fail."""
    FOLDER.mkdir(exist_ok=True)
    await (await mercato(plan, "scale", "orders=2")).wait()
    await (await mercato(plan, "mesh", "fault", "payments", "--abort", "UNAVAILABLE", "--percent", "2")).wait()
    replay = await mercato(plan, "replay", "--decline", "8", "--concurrency", "32")
    url = f"http://localhost:{plan.slot(f'{FRONT}/1').http_port}"
    try:
        async with async_playwright() as driver, aiohttp.ClientSession(url) as api:
            browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            maps = (picture(browser, url, f"map-{scheme}", "map", scheme, DESK, SETTLED_S) for scheme in SCHEMES)
            await asyncio.gather(*maps)
            confirmed = await newest(api, "STATE_CONFIRMED")
            refused = await newest(api, "STATE_REFUSED", "CARD_DECLINED")
            for scheme in SCHEMES:
                await picture(browser, url, f"order-{scheme}", confirmed["name"], scheme, DESK)
                await picture(browser, url, f"refused-{scheme}", refused["name"], scheme, DESK)
                await picture(browser, url, f"objectives-{scheme}", "objectives", scheme, DESK)
            await picture(browser, url, "order-phone", refused["name"], "light", PHONE)
            await browser.close()
    finally:
        if replay.returncode is None:
            replay.terminate()
        await replay.wait()


async def mercato(plan: Plan, *arguments: str) -> asyncio.subprocess.Process:
    """Begin a command of the fleet's."""
    environment = {**os.environ, "MERCATO_HOME": str(plan.home)}
    quiet = asyncio.subprocess.DEVNULL
    command = (sys.executable, "-m", "fleet", *arguments)
    return await asyncio.create_subprocess_exec(*command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet)


async def picture(
    browser: Browser, url: str, name: str, place: str, scheme: Scheme, size: ViewportSize, settled_s: float = 3
) -> None:
    """Take one picture of what a window of a size shows of a place."""
    async with await browser.new_context(base_url=url, viewport=size, color_scheme=scheme) as context:
        page = await context.new_page()
        await page.goto(f"/console#/{place}")
        await asyncio.sleep(settled_s)
        await page.screenshot(path=FOLDER / f"{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
