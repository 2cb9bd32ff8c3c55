"""The calls that wait in the gRPC core of a server until the event loop comes round to take them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # channelz without a call

from chassis.limits import Calls
from chassis.resilience.concurrency import TICK_S


class Backlog:
    """Tells a limit how many calls wait at a server: those that came and did not end, but for those in handlers.

    Where calls come in another way too (over HTTP, from within the process), those in handlers are more than came by
    gRPC, and too few are said to wait; never too many. It is made right after the server: channelz' ids grow, so its
    is the largest.
    """

    def __init__(self, calls: Calls, in_handlers: Callable[[], int]) -> None:
        self._calls = calls
        self._in_handlers = in_handlers
        self._server = _newest_server()

    async def watch(self) -> None:
        """Tell it now and then until cancelled; as long as no call comes, none waits."""
        taken = 0
        while True:
            await asyncio.sleep(TICK_S)
            before, taken = taken, self._calls.taken
            if taken != before or self._calls.queued:
                self._calls.tell_queued(max(_inside(self._server) - self._in_handlers(), 0))


def _newest_server() -> int:
    newest, end = 0, False
    while not end:
        page: dict[str, Any] = orjson.loads(cygrpc.channelz_get_servers(newest + 1))
        newest = max((int(server["ref"]["serverId"]) for server in page.get("server", ())), default=newest)
        end = page.get("end", False)
    return newest


def _inside(server: int) -> int:
    data = orjson.loads(cygrpc.channelz_get_server(server))["server"]["data"]
    started, succeeded, failed = (int(data.get(f"calls{kind}", 0)) for kind in ("Started", "Succeeded", "Failed"))
    return started - succeeded - failed
