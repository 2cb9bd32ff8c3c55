"""A server of one method that holds up the event loop for a fixed time, with the chassis' adaptive limit or without it.

It sleeps where others compute: to the loop that is the same, and its capacity does not depend on who else computes.

Started as a process by the experiment, with `limited` or `unlimited`, and the port.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import uvloop
from mercato.catalog.v1 import catalog_pb2

from chassis.clock import SystemClock
from chassis.server import Server
from chassis.settings import Settings
from chassis.telemetry.logs import configure_logs
from loadtest.echo import CATALOG, Echo, as_in_fleet

WORK_S, WAIT_S = 0.01, 0.02


class Busy(Echo):
    """The catalogue, with GetProduct alone, which keeps the loop busy."""

    async def GetProduct(  # noqa: N802
        self, request: catalog_pb2.GetProductRequest, context: Any
    ) -> catalog_pb2.GetProductResponse:
        """Work, wait as for a database, work again, and answer."""
        time.sleep(WORK_S / 2)  # noqa: ASYNC251  # on purpose
        await asyncio.sleep(WAIT_S)
        time.sleep(WORK_S / 2)  # noqa: ASYNC251
        return await super().GetProduct(request, context)


async def _serve(limited: bool, port: int) -> None:
    settings = Settings("busy", "busy/1", port=port)
    configure_logs(settings)
    server = Server(settings, SystemClock())
    if not limited:
        server.calls.tell_queued = _look_away  # type: ignore[method-assign]  # few are ever in handlers
    await server.add(CATALOG, Busy())
    async with server:
        await asyncio.Event().wait()


def _look_away(count: int) -> None:
    """Know of no queue."""


def main() -> None:
    """Serve until ended."""
    as_in_fleet()
    uvloop.run(_serve(sys.argv[1] == "limited", int(sys.argv[2])))


if __name__ == "__main__":
    main()
