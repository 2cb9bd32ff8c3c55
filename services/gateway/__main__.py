"""The gateway as a process: it serves until it is asked to end."""

from __future__ import annotations

import asyncio
import signal

import uvloop
from prometheus_client import start_http_server

from chassis.clock import SystemClock
from chassis.logs import configure_logs
from chassis.settings import Settings
from chassis.tracing import configure_tracing
from services.gateway.contract import Contract
from services.gateway.gateway import Gateway


def main() -> None:
    """Run one instance as its environment says."""
    settings = Settings.from_environment("gateway")
    configure_logs(settings)
    configure_tracing(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.host)
    uvloop.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with Gateway(settings, SystemClock(), Contract.load()):
        await ended.wait()


if __name__ == "__main__":
    main()
