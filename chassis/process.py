"""The process around what serves: its logs, its metrics, its event loop, and the signal that ends it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import uvloop
from grpc import ssl_channel_credentials
from grpc.aio import insecure_channel, secure_channel
from prometheus_client import start_http_server

from chassis.channels import open_channel
from chassis.settings import Settings
from chassis.telemetry.export import Exporter, exporting
from chassis.telemetry.instance import fields_of
from chassis.telemetry.logs import configure_logs
from chassis.telemetry.loop import watching_loop
from chassis.telemetry.otlp import resource_of
from chassis.xds import follow_control_plane

OTLP_PORT = 4317


Live = Callable[[asyncio.Event, Sequence[Exporter]], Coroutine[Any, Any, None]]
"""What a process does: it takes an event that is set when it is asked to end, and where what it tells goes."""


def run_process(settings: Settings, live: Live) -> None:
    """Run a process until it is asked to end."""
    configure_logs(settings)
    follow_control_plane(settings)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.host)
    uvloop.run(_run(settings, live))


async def _run(settings: Settings, live: Live) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    exporters = list(_exporters(settings))
    async with exporting(exporters), watching_loop():
        await live(ended, exporters)


def _exporters(settings: Settings) -> Iterator[Exporter]:
    """Yield where what this process tells goes: our own telemetry, any other place that takes OTLP, or both."""
    resource = resource_of(fields_of(settings))
    if settings.telemetry:
        yield Exporter(open_channel(settings.telemetry), resource, {})
    if settings.otlp_endpoint:
        url = urlsplit(settings.otlp_endpoint)
        target = f"{url.hostname}:{url.port or OTLP_PORT}"
        secure = url.scheme == "https"
        channel = secure_channel(target, ssl_channel_credentials()) if secure else insecure_channel(target)
        yield Exporter(channel, resource, settings.otlp_headers)
