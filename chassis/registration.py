"""An instance's entry in the mesh: where it is and how it fares, told every moment for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable

from mercato.mesh.v1 import mesh_pb2 as pb
from mercato.mesh.v1 import mesh_pb2_grpc

from chassis.clock import Clock
from chassis.errors import MercatoError
from chassis.settings import Settings

REGISTRY = pb.DESCRIPTOR.services_by_name["RegistryService"]
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Between tries to reach the mesh."""
HEARTBEATS = 3
"""In a lease: two may be lost."""

_log = logging.getLogger(__name__)


class Registration:
    """Registers an instance that listens at an address, again whenever the mesh was away; nobody waits for it."""

    def __init__(
        self,
        registry: mesh_pb2_grpc.RegistryServiceStub,
        settings: Settings,
        address: str,
        clock: Clock,
        vitals: Callable[[], pb.Vitals],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._vitals = vitals
        self._changed = asyncio.Event()
        self._pause_s = FIRST_PAUSE_S
        self._heartbeat_s = 1.0
        self._instance = pb.Instance(
            name=settings.instance,
            service=settings.service,
            address=address,
            version=settings.version,
            zone=settings.zone,
            weight=settings.weight,
            state=pb.Instance.STATE_SERVING,
        )

    def drain(self) -> None:
        """Say at once that the instance takes no new calls."""
        self._instance.state = pb.Instance.STATE_DRAINING
        self._changed.set()

    async def run(self) -> None:
        """Stay registered until cancelled."""
        while True:
            try:
                async for answer in self._registry.Register(self._messages()):
                    if self._pause_s > FIRST_PAUSE_S:
                        _log.info("registered again")
                    self._pause_s = FIRST_PAUSE_S
                    self._heartbeat_s = answer.lease.ToTimedelta().total_seconds() / HEARTBEATS
            except MercatoError as error:
                if self._pause_s == FIRST_PAUSE_S:
                    _log.warning("cannot register", extra={"error": str(error)})
            await self._clock.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    async def _messages(self) -> AsyncIterator[pb.RegisterRequest]:
        while True:
            self._changed.clear()
            self._instance.vitals.CopyFrom(self._vitals())
            yield pb.RegisterRequest(instance=self._instance)
            try:
                async with asyncio.timeout(self._heartbeat_s):
                    await self._changed.wait()
            except TimeoutError:
                continue


def reachable(host: str) -> str:
    """Return where others reach what listens on a host: for all interfaces, the address this machine's name has."""
    return socket.gethostbyname(socket.gethostname()) if host in ("0.0.0.0", "::") else host  # noqa: S104
