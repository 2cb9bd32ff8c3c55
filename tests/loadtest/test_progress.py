"""How far a replay is, as a person sees it."""

from __future__ import annotations

import asyncio
from io import StringIO

from rich.console import Console

from loadtest import progress
from loadtest.replay import Tally


async def output(*, is_terminal: bool) -> str:
    screen = StringIO()
    tally = Tally(3108, "trading")
    async with progress.shown(tally, Console(file=screen, force_terminal=is_terminal, width=120)):
        tally.done_count, tally.final_count, tally.outstanding_count = 64, 4, 30
        await asyncio.sleep(0)
    return screen.getvalue()


async def test_a_bar_on_a_terminal() -> None:
    shown = await output(is_terminal=True)
    assert "64/3108" in shown
    assert "━" in shown


async def test_plain_lines_elsewhere() -> None:
    shown = await output(is_terminal=False)
    assert shown.startswith("trading: 64 of 3,108 lines, 4 orders done, 30 under way, ")
    assert "\x1b" not in shown
