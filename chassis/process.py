"""The process around what serves: its logs, its metrics, its event loop, and the signal that ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop
from prometheus_client import start_http_server

from chassis.settings import Settings
from chassis.telemetry.logs import configure_logs
from chassis.xds import follow_control_plane


def run_process(settings: Settings, live: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `live` with an event that is set when the process is asked to end."""
    configure_logs(settings)
    follow_control_plane(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.host)
    uvloop.run(_run(live))


async def _run(live: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await live(ended)
