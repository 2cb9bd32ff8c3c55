"""The one place of the fleet that sleeps: other processes give no other sign of when to look again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_POLL_S = 0.02


async def until(answers: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until the answer is yes; the caller bounds the time."""
    while not await answers():  # noqa: ASYNC110 - no event of ours
        await asyncio.sleep(_POLL_S)
