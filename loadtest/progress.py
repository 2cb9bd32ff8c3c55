"""Shows how far a replay is: a bar on a terminal, a plain line each few seconds elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtest.replay import Tally

_BAR_S = 0.1
_LINE_S = 5.0


@asynccontextmanager
async def shown(tally: Tally, console: Console) -> AsyncIterator[None]:
    """Show a tally for as long as the context is open, and as it is at the end."""
    showing = asyncio.create_task(_bar(tally, console) if console.is_terminal else _lines(tally, console))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _bar(tally: Tally, console: Console) -> None:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("lines, {task.fields[orders]}"),
        TimeElapsedColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(tally.phase, total=tally.total_count, orders="")
        while True:
            try:
                await asyncio.sleep(_BAR_S)
            finally:
                orders = _orders(tally, time.monotonic() - started)
                progress.update(task, description=tally.phase, completed=tally.done_count, orders=orders)


async def _lines(tally: Tally, console: Console) -> None:
    started = time.monotonic()
    while True:
        try:
            await asyncio.sleep(_LINE_S)
        finally:
            orders = _orders(tally, time.monotonic() - started)
            text = f"{tally.phase}: {tally.done_count:,} of {tally.total_count:,} lines, {orders}"
            console.print(text, highlight=False, soft_wrap=True)


def _orders(tally: Tally, elapsed_s: float) -> str:
    return (
        f"{tally.final_count:,} orders done, {tally.outstanding_count} under way, {tally.final_count / elapsed_s:.0f}/s"
    )
