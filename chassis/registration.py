"""An instance's entry in the mesh: where it is and how it fares, told every moment for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from types import TracebackType
from typing import Any, Self

from mercato.mesh.v1 import mesh_pb2 as pb
from mercato.mesh.v1 import mesh_pb2_grpc

from chassis.channels import Channel, open_channel
from chassis.clock import Clock
from chassis.errors import MercatoError
from chassis.limits import Calls
from chassis.readiness import Missing
from chassis.resilience.callee import Resilience
from chassis.server import Server
from chassis.settings import Settings
from chassis.tasks import cancel, endless

REGISTRY = pb.DESCRIPTOR.services_by_name["RegistryService"]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Between tries to reach the mesh."""
LONGEST_REASON = 500
HEARTBEATS = 3
"""In a lease: two may be lost."""

_log = logging.getLogger(__name__)


class Registration:
    """Registers an instance once it serves, and again whenever the mesh was away; nobody waits for it.

    It lasts as long as its context, which has to begin before the server's: the mesh hears of the end before it comes.
    """

    def __init__(self, settings: Settings, clock: Clock, resilience: Resilience) -> None:
        self._settings = settings
        self._clock = clock
        self._resilience = resilience
        self._stack = AsyncExitStack()
        self._changed = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._heartbeat_s = 1.0
        self._registered = False
        self._instance = pb.Instance(
            name=settings.instance,
            service=settings.service,
            version=settings.version,
            zone=settings.zone,
            weight=settings.weight,
            state=pb.Instance.STATE_SERVING,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    def begin(self, server: Server) -> None:
        """Register what serves now, where there is a mesh."""
        if not self._settings.mesh:
            return
        self._instance.address = f"{reachable(self._settings.host)}:{server.port}"
        channel = open_channel(self._settings.mesh)
        self._stack.push_async_callback(channel.close)
        typed: Any = Channel(channel, [REGISTRY], self._settings.service)
        registering = asyncio.create_task(
            endless(partial(self._register, mesh_pb2_grpc.RegistryServiceStub(typed), server.calls))
        )
        self._stack.push_async_callback(cancel, [registering])

    async def look(self) -> None:
        """Look whether the mesh knows of the instance; Missing."""
        if not self._registered:
            raise Missing("not registered", certain=False)  # it may be for a moment

    async def tell(self, problem: str) -> None:
        """Say at once that the instance takes no calls, as there is a problem, or that it takes them again."""
        if self._instance.state != pb.Instance.STATE_DRAINING:
            self._instance.state = pb.Instance.STATE_UNHEALTHY if problem else pb.Instance.STATE_SERVING
            self._instance.reason = problem[:LONGEST_REASON]
            self._changed.set()

    def drain(self) -> None:
        """Say at once that the instance takes no new calls."""
        self._instance.state = pb.Instance.STATE_DRAINING
        self._instance.reason = ""
        self._changed.set()

    async def _register(self, registry: mesh_pb2_grpc.RegistryServiceStub, calls: Calls) -> None:
        while True:
            try:
                async for answer in registry.Register(self._messages(calls)):
                    if self._pause_s > FIRST_PAUSE_S:
                        _log.info("registered again")
                    self._pause_s = FIRST_PAUSE_S
                    self._registered = True
                    self._heartbeat_s = answer.lease.ToTimedelta().total_seconds() / HEARTBEATS
            except MercatoError as error:
                if self._pause_s == FIRST_PAUSE_S:
                    _log.warning("cannot register", extra={"error": str(error)})
            self._registered = False
            await self._clock.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _messages(self, calls: Calls) -> AsyncIterator[pb.RegisterRequest]:
        while True:
            self._changed.clear()
            self._instance.vitals.CopyFrom(vitals(calls, self._resilience))
            yield pb.RegisterRequest(instance=self._instance)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._heartbeat_s):
                    await self._changed.wait()


def vitals(calls: Calls, resilience: Resilience) -> pb.Vitals:
    """Return how an instance fares: what it serves, and how it bears those that it calls."""
    return pb.Vitals(
        calls=calls.served,
        failed_calls=calls.failed,
        shed_calls=calls.shed,
        calls_in_flight=calls.in_flight,
        concurrency_limit=calls.limit,
        retries=resilience.retries,
        retries_withheld=resilience.retries_withheld,
        breakers=[
            pb.CircuitBreaker(
                callee=breaker.callee,
                method=breaker.method,
                state=pb.CircuitBreaker.State.Value(f"STATE_{breaker.state.name}"),
            )
            for breaker in resilience.tripped
        ],
    )


def reachable(host: str) -> str:
    """Return where others reach what listens on a host: for all interfaces, the address this machine's name has."""
    return socket.gethostbyname(socket.gethostname()) if host in ("0.0.0.0", "::") else host  # noqa: S104
