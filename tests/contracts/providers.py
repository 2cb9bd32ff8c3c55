"""Every provider as it really runs: real gRPC, real database, real bus; states come about through its own methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib import import_module
from pathlib import Path

from chassis.database import Database
from chassis.nats import NatsBus
from chassis.testing.bridge import Emitted, Provider
from fleet.embedded import postgres
from tests.contracts.clock import NamingClock
from tests.shop import Shop
from tests.stage import Stage, stage

STATES = "tests.contracts.states"
EVENT_TIMEOUT_S = 10.0


@asynccontextmanager
async def providers(folder: Path) -> AsyncIterator[Mapping[str, Provider]]:
    """Run all providers with engines of their own in a folder."""
    async with postgres(folder / "postgres") as url, providers_on(url, folder / "nats") as running:
        yield running


@asynccontextmanager
async def providers_on(postgres_url: str, nats_folder: Path) -> AsyncIterator[Mapping[str, Provider]]:
    """Run all providers on a PostgreSQL that is there."""
    async with stage(postgres_url, nats_folder, NamingClock()) as opened, AsyncExitStack() as stack:
        shop = await Shop.open(opened)
        await opened.start("notifications")
        await opened.start("mesh")
        await opened.start("telemetry")
        emitted = await stack.enter_async_context(Emissions.following(opened))
        empty = Emptying(opened)

        async def reset() -> None:
            emitted.clear()
            await empty()

        yield {
            name: Provider(
                name,
                opened.targets[name],
                import_module(f"{STATES}.{name}").states(shop),
                reset,
                partial(emitted.first, name),
            )
            for name in opened.apps
        }


class Emissions:
    """What providers told the bus since the last reset."""

    def __init__(self, bus: NatsBus) -> None:
        self._bus = bus
        self._events: dict[str, Emitted] = {}
        self._came = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def following(cls, stage: Stage) -> AsyncIterator[Emissions]:
        """Follow every event of every provider."""
        async with NatsBus(stage.nats_url, "contracts/1") as bus:
            emissions = cls(bus)
            task = asyncio.create_task(emissions._follow())
            await emissions._came.wait()
            yield emissions
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def clear(self) -> None:
        """Forget what came."""
        self._events.clear()

    async def first(self, provider: str, full_name: str) -> Emitted:
        """Wait for the first event of a type; TimeoutError."""
        assert full_name.split(".")[1] == provider
        async with asyncio.timeout(EVENT_TIMEOUT_S):
            while full_name not in self._events:
                self._came.clear()
                await self._came.wait()
        return self._events[full_name]

    async def _follow(self) -> None:
        async with self._bus.follow(["mercato.>"]) as events:
            self._came.set()
            async for event in events:
                self._events.setdefault(event.type, Emitted(event.key, event.payload))
                self._came.set()


class Emptying:
    """Empties the databases of all services on stage."""

    def __init__(self, stage: Stage) -> None:
        self._databases = [app.database for app in stage.apps.values()]
        self._statements: list[str] = []

    async def __call__(self) -> None:
        """Delete every row."""
        if not self._statements:
            self._statements = [await self._deletion(database) for database in self._databases]
        await asyncio.gather(*map(self._empty, self._databases, self._statements))

    async def _deletion(self, database: Database) -> str:
        tables = await database.rows(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migrations' ORDER BY 1"
        )
        return "; ".join(f'DELETE FROM "{row["tablename"]}"' for row in tables)

    async def _empty(self, database: Database, statement: str) -> None:
        async with database.connection() as connection:
            await connection.execute(statement)
