"""One service instance: what `services/<name>/__main__.py` composes, and how it runs and ends."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from chassis.bus import Bus
from chassis.channels import Channel, open_channel
from chassis.clock import Clock, SystemClock
from chassis.consumer import Consumer, Handler
from chassis.database import Database
from chassis.errors import Unavailable
from chassis.idempotency import Requests
from chassis.inprocess import Exchange
from chassis.instance import INSTANCE, Instance
from chassis.migrations import migrate
from chassis.nats import NatsBus
from chassis.operations import OPERATIONS, Operations
from chassis.outbox import Outbox
from chassis.process import run_process
from chassis.readiness import DatabaseLook, Readiness, bus_look
from chassis.registration import Registration
from chassis.resilience.callee import Resilience
from chassis.resilience.channel import ResilientChannel
from chassis.resilience.metrics import shown
from chassis.saga import Saga
from chassis.sagas import Sagas
from chassis.server import MAX_REQUEST_BYTES, Server
from chassis.settings import InvalidSetting, Settings
from chassis.tasks import Work, cancel, endless, finish
from chassis.telemetry.export import Exporter
from chassis.telemetry.instance import Telemetry
from chassis.waiting import Waiting

Stub = TypeVar("Stub")
START_TIMEOUT_S = 30.0
PRUNE_S = 3600.0

_log = logging.getLogger(__name__)


class App:
    """The parts of one instance. Composition roots ask it for what they need; nobody else knows it."""

    def __init__(
        self,
        settings: Settings,
        stack: AsyncExitStack,
        clock: Clock | None = None,
        exchange: Exchange | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.settings = settings
        self.telemetry = (telemetry or Telemetry(settings)).tell()
        self.clock: Clock = clock or SystemClock()
        self.readiness = Readiness(self.clock)
        self.resilience = shown(Resilience(settings.retry_budget, settings.max_concurrent_calls))
        self.database: Database
        self.bus: Bus
        self.outbox: Outbox
        self.requests: Requests
        self.sagas: Sagas | None = None
        self.consumer: Consumer | None = None
        self._stack = stack
        self._exchange = exchange or Exchange()
        self._working, self._serving = AsyncExitStack(), AsyncExitStack()
        self._has_database = False
        self._servicers: list[tuple[ServiceDescriptor, object]] = []
        self._max_request_bytes = MAX_REQUEST_BYTES
        self._background: list[Work] = []
        self._last: list[Work] = []

    async def open_database(self, migrations: Path, *, optional: bool = False) -> Database:
        """Open this service's database, brought up to date. `optional`: once it runs, it can serve without."""
        self.database = await self._stack.enter_async_context(Database(self.settings.database_url))
        await migrate(self.database, migrations)
        self.requests = Requests(self.database, self.clock)
        self._has_database = True
        look = await self._stack.enter_async_context(DatabaseLook(self.settings.database_url))
        self.readiness.add("database", look, optional=optional)
        self.background(self._prune)
        return self.database

    async def open_bus(self) -> Bus:
        """Connect to the event bus, and publish what commits in the database."""
        self.bus = await self._stack.enter_async_context(NatsBus(self.settings.nats_url, self.settings.instance))
        self.outbox = Outbox(self.database, self.bus, self.clock, self.settings.service)
        self.background(self.outbox.run)
        self.readiness.add("bus", bus_look(self.bus), optional=True)
        return self.bus

    def client(self, service: ServiceDescriptor, stub: Callable[[grpc.aio.Channel], Stub]) -> Stub:
        """Return a stub of another service; its name is the second part of its package, `mercato.<name>.v1`."""
        typed: Any = Channel(self._channel(service), [service], self.settings.service)
        return stub(typed)

    def carry_on(self, *definitions: Saga[Any]) -> Sagas:
        """Carry on sagas of these kinds."""
        self.sagas = Sagas(self.database, self.clock, self.settings.instance, definitions)
        self.background(self.sagas.run)
        return self.sagas

    def consume(self, handlers: Mapping[type[Message], Handler]) -> None:
        """Handle events of these types."""
        self.consumer = Consumer(self.database, self.bus, self.clock, self.settings.service, handlers)
        self.background(self.consumer.run)

    def serve(self, service: ServiceDescriptor, servicer: object, max_request_bytes: int = MAX_REQUEST_BYTES) -> None:
        """Serve a service. What its requests may be, those of all others on this port may be, too."""
        self._servicers.append((service, servicer))
        self._max_request_bytes = max(self._max_request_bytes, max_request_bytes)

    def background(self, work: Work) -> None:
        """Do some work for as long as the instance serves. It may not end."""
        self._background.append(work)

    def at_end(self, work: Work) -> None:
        """Do some work once, when nothing is served any more and the background work has ended, for `grace_s` at most.

        What is cancelled is cancelled again a second later, so background work cannot finish what takes longer.
        """
        self._last.append(work)

    async def start(self) -> Server:
        """Start the background work, then serve, until the stack is closed."""
        database = self.database if self._has_database else None
        self.serve(OPERATIONS, Operations(self.settings.service, database, self.consumer, self.sagas))
        self.serve(INSTANCE, Instance(self.settings, self.readiness))
        if database:
            self.background(Waiting(database, self.clock, self.consumer, self.sagas).run)
        requests = self.requests if self._has_database else None
        server = Server(self.settings, self.clock, requests, self.telemetry.sampler, self._max_request_bytes)
        for service, servicer in self._servicers:
            await server.add(service, servicer)
        await self._stack.enter_async_context(self._working)
        await self._stack.enter_async_context(self._serving)
        self._working.push_async_callback(finish, self._last, self.settings.grace_s)
        registration = Registration(self.settings, self.clock, self.resilience)
        await self._working.enter_async_context(registration)
        tasks = [asyncio.create_task(endless(work)) for work in self._background]
        self._working.push_async_callback(cancel, tasks)
        await self._working.enter_async_context(self._exchange.serving(self.settings.service, server.handlers))
        await self._serving.enter_async_context(server)
        registration.begin(server)
        self._serving.callback(registration.drain)
        if self.settings.mesh:
            self.readiness.add("mesh", registration.look, optional=True)
        looking = asyncio.create_task(endless(partial(self.readiness.run, server.tell, registration.tell)))
        self._working.push_async_callback(cancel, [looking])
        return server

    async def drain(self) -> None:
        """Stop serving others; calls under way finish."""
        await self._serving.aclose()

    async def rest(self) -> None:
        """Stop the background work and what other services of this process still ask for."""
        await self._working.aclose()

    def _channel(self, service: ServiceDescriptor) -> ResilientChannel:
        name = service.file.package.split(".")[1]
        callee = self.resilience.callee(name)
        if self._exchange.hosts(name):
            return ResilientChannel(self._exchange.channel(name), callee, [service], hedge=False)
        channel = open_channel(self.settings.target(name))
        self._stack.push_async_callback(channel.close)
        return ResilientChannel(channel, callee, [service])

    async def _prune(self) -> None:
        while True:
            try:
                await self.requests.prune()
                if self.consumer:
                    await self.consumer.prune()
            except Unavailable:
                _log.warning("could not prune")
            await self.clock.sleep(PRUNE_S)


Compose = Callable[[App], Awaitable[None]]


def run(service: str, compose: Compose) -> None:
    """Run one instance of a service, as its environment says, until it is asked to end."""
    with _plainly():
        settings = Settings.from_environment(service)
    run_together(settings, [(settings, compose)])


def run_together(process: Settings, hosted: Sequence[tuple[Settings, Compose]]) -> None:
    """Run an instance of each of several services in one process until it is asked to end.

    Each is the same as alone: own database, port, health and name in the logs. But their calls to each other stay in
    the process. `process` says where its metrics are, which all share, and in whose name it logs itself.
    """
    exchange = Exchange(settings.service for settings, _ in hosted)
    phases = asyncio.Barrier(len(hosted))

    async def live(ended: asyncio.Event, exporters: Sequence[Exporter]) -> None:
        async with asyncio.TaskGroup() as instances:
            for settings, compose in hosted:
                telemetry = Telemetry(settings, exporters)
                instances.create_task(_live(settings, compose, exchange, telemetry, ended, phases))

    with _plainly():
        run_process(process, live)


@contextmanager
def _plainly() -> Iterator[None]:
    """End the process, where a setting cannot be read, with a line that says so: who wrote it needs no traceback."""
    try:
        yield
    except InvalidSetting as wrong:
        sys.exit(str(wrong))
    except ExceptionGroup as group:
        wrongs, others = group.split(InvalidSetting)
        if others or not wrongs:
            raise
        sys.exit("\n".join(map(str, _each(wrongs))))


def _each(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _each(error)
        else:
            yield error


async def _live(
    settings: Settings,
    compose: Compose,
    exchange: Exchange,
    telemetry: Telemetry,
    ended: asyncio.Event,
    phases: asyncio.Barrier,
) -> None:
    """Run one instance in this task; it ends in step with the others, so that no last call meets a closed door."""
    telemetry.tell()
    async with AsyncExitStack() as stack:
        app = await _started(_start_when_ready(settings, compose, exchange, telemetry, stack), ended)
        await ended.wait()
        if app:
            await app.drain()
        await phases.wait()
        if app:
            await app.rest()
        await phases.wait()


async def _started(starting: Coroutine[Any, Any, App], ended: asyncio.Event) -> App | None:
    """Return the instance when it serves; None when it is asked to end before."""
    start = asyncio.create_task(asyncio.wait_for(starting, START_TIMEOUT_S))
    await asyncio.wait((start, asyncio.create_task(ended.wait())), return_when=asyncio.FIRST_COMPLETED)
    if ended.is_set():
        start.cancel()
    with suppress(asyncio.CancelledError):
        return await start
    return None


async def _start_when_ready(
    settings: Settings, compose: Compose, exchange: Exchange, telemetry: Telemetry, stack: AsyncExitStack
) -> App:
    """Start; wait for the database and the bus when they are not there yet."""
    while True:
        async with AsyncExitStack() as attempt:
            try:
                app = App(settings, attempt, exchange=exchange, telemetry=telemetry)
                await compose(app)
                await app.start()
            except Unavailable as error:
                _log.warning("start waits", extra={"error": str(error)})
                await asyncio.sleep(0.2)
                continue
            stack.push_async_exit(attempt.pop_all())
            return app
