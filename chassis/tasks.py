"""Background work: it goes on for as long as the instance does, and ends when told to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from chassis.errors import Unavailable

Work = Callable[[], Coroutine[Any, Any, None]]

CANCEL_AGAIN_S = 1.0
AGAIN_S = 1.0

_log = logging.getLogger(__name__)


async def endless(work: Work) -> None:
    """Do background work; one that fails is a defect: it is logged, and tried again after a second."""
    while True:
        try:
            await work()
        except Unavailable as error:
            _log.warning("background work waits", extra={"work": _name(work), "error": str(error)})
        except Exception:
            _log.exception("background work failed", extra={"work": _name(work)})
        await asyncio.sleep(AGAIN_S)


async def cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel until all have ended: a library in between may swallow a cancellation."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=CANCEL_AGAIN_S)


async def finish(works: Sequence[Work], most_s: float) -> None:
    """Do once, all together, what is to be done at the end, for so long at most; what is left undone is logged."""

    async def do(work: Work) -> None:
        try:
            async with asyncio.timeout(most_s):
                await work()
        except (Unavailable, TimeoutError) as error:
            _log.warning("last work was left undone", extra={"work": _name(work), "error": str(error)})
        except Exception:
            _log.exception("last work failed", extra={"work": _name(work)})

    await asyncio.gather(*map(do, works))


def _name(work: Callable[..., Any]) -> str:
    """Return what the code calls it; of a function that is given work to do, what that work is called."""
    if isinstance(work, partial):
        return _name(next(filter(callable, work.args), work.func))
    return getattr(work, "__qualname__", type(work).__qualname__)
