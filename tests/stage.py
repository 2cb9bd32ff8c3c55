"""Runs real services in the test's own process: real gRPC on a free port, real PostgreSQL and NATS."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import asyncpg
import grpc
from google.protobuf.descriptor import ServiceDescriptor

from chassis.app import App, Compose
from chassis.channels import Channel, open_channel
from chassis.clock import Clock, SystemClock
from chassis.inprocess import Exchange
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from chassis.settings import Settings
from chassis.telemetry.instance import Telemetry
from fleet.embedded import nats

Stub = TypeVar("Stub")


@dataclass
class Stage:
    """Services on stage. Each has its own database; they find each other as they are started."""

    postgres_url: str
    nats_url: str
    stack: AsyncExitStack
    clock: Clock = field(default_factory=SystemClock)
    targets: dict[str, str] = field(default_factory=dict)
    apps: dict[str, App] = field(default_factory=dict)
    exchange: Exchange = field(default_factory=Exchange)
    telemetry: Telemetry | None = None
    """What all tell through; without it each has its own, which nobody hears."""

    async def start(self, name: str, compose: Compose | None = None, **settings: Any) -> App:
        """Start one instance of a service by its folder's `compose`, or by another."""
        if compose is None:
            compose = importlib.import_module(f"services.{name}.__main__").compose
        told = Settings(
            service=name,
            instance=f"{name}/1",
            port=0,
            http_port=0,
            database_url=await self.new_database(name),
            nats_url=self.nats_url,
            targets=self.targets,
            drain_s=0.0,
            grace_s=1.0,
        )
        app = App(replace(told, **settings), self.stack, self.clock, self.exchange, self.telemetry)
        await compose(app)
        server = await app.start()
        self.targets[name] = f"ipv4:127.0.0.1:{server.port}"
        self.apps[name] = app
        return app

    async def new_database(self, name: str) -> str:
        """Create a database of its own for a service; returns its URL."""
        database = f"{name}_{uuid4().hex[:8]}"
        connection = await asyncpg.connect(self.postgres_url)
        await connection.execute(f'CREATE DATABASE "{database}" STRATEGY file_copy')
        await connection.close()
        return self.postgres_url.rsplit("/", 1)[0] + f"/{database}"

    def stub(self, service: ServiceDescriptor, stub: Callable[[grpc.aio.Channel], Stub], caller: str = "tests") -> Stub:
        """Return a stub as a service would have it: errors are raised as chassis.errors."""
        resilient = ResilientChannel(self.channel(service), Resilience().callee(_name(service)), [service])
        typed: Any = Channel(resilient, [service], caller)
        return stub(typed)

    def channel(self, service: ServiceDescriptor) -> grpc.aio.Channel:
        """Return a plain channel to a service on stage."""
        channel = open_channel(self.targets[_name(service)])
        self.stack.push_async_callback(channel.close)
        return channel


def _name(service: ServiceDescriptor) -> str:
    return service.file.package.split(".")[1]


@asynccontextmanager
async def stage(postgres_url: str, nats_folder: Path, clock: Clock | None = None) -> AsyncIterator[Stage]:
    """Open a stage with a NATS of its own, so that no other test's events come in."""
    async with nats(nats_folder) as nats_url, AsyncExitStack() as stack:
        yield Stage(postgres_url, nats_url, stack, clock or SystemClock())


async def eventually(condition: Callable[[], Awaitable[bool]], timeout_s: float = 10.0) -> None:
    """Wait until a condition holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(timeout_s):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
