"""The longest that anything of a kind may take, kept with one timer for all instead of one for each."""

from __future__ import annotations

import asyncio
from typing import Any


class Longest:
    """Within its block a task takes at most so long, then TimeoutError. All take the same, so the first is due first.

    It is `asyncio.timeout` at a quarter of the cost, for what is done with every call.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadlines: dict[asyncio.Task[Any], float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        task, loop = _current_task(), asyncio.get_running_loop()
        self._deadlines[task] = loop.time() + self._timeout_s
        if self._timer is None:
            self._timer = loop.call_later(self._timeout_s, self._end_late)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        task = _current_task()
        if self._deadlines.pop(task, None) is None and not task.uncancel() and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _end_late(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        while self._deadlines:
            task, deadline = next(iter(self._deadlines.items()))
            if deadline > loop.time():
                self._timer = loop.call_at(deadline, self._end_late)
                return
            del self._deadlines[task]
            task.cancel()


def _current_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task
